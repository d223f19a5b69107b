package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// events counts the Events of a reason about a Node, repeated ones by their count.
func (f *fixture) events(node *corev1.Node, reason string) int {
	f.Helper()
	events, err := f.client.CoreV1().Events(metav1.NamespaceDefault).List(f.Context(), metav1.ListOptions{FieldSelector: "reason=" + reason + ",involvedObject.uid=" + string(node.UID)})
	if err != nil {
		f.Fatal(err)
	}
	count := 0
	for _, event := range events.Items {
		count += max(1, int(event.Count))
	}
	return count
}

// An operator fixes a failed cleanup by removing the failed step from the config. Then no step
// remains, and the record must say so first.
func TestRemovingTheFailedStepCompletesTheCleanup(t *testing.T) {
	const drain = "retry: {maxRetries: 0}\nsteps:\n- {name: drain, plugin: probe, options: {do: drain}}\n"
	const both = drain + "- {name: storage, plugin: probe, dependsOn: [drain], options: {do: storage}}\n"
	fail := func(f *fixture) {
		f.probes["drain"] = func(context.Context, cleanup.Target) error { return nil }
		f.probes["storage"] = func(context.Context, cleanup.Target) error { return errors.New("the array is rebuilding") }
	}
	t.Run("of a node that is deleted", func(t *testing.T) {
		f := setUp(t, both)
		fail(f)
		var log output
		options := f.options()
		options.Log = slog.New(slog.NewTextHandler(&log, nil))
		f.start(options)
		free, held := f.protected("free"), f.protected("held", "example.com/other")
		for _, node := range []*corev1.Node{free, held} {
			f.delete(node)
			f.awaitState(node, api.Failed)
		}
		f.configure(drain)
		f.awaitDeleted(free)
		f.eventually("our finalizer is removed", func(context.Context) (bool, error) { return !api.HasFinalizer(f.read(held)), nil })
		f.awaitEvent(held, "CleanupCompleted", "the node is released")
		for _, node := range []*corev1.Node{free, held} {
			if run := f.record(node); run.State != api.Succeeded || run.FinishedAt == nil || len(run.Steps) != 1 {
				t.Errorf("the record of %s says %+v", node.Name, run)
			}
		}
		f.eventually("the agent has looked at the node that others hold", func(context.Context) (bool, error) {
			return strings.Contains(log.String(), "other finalizers remain") || strings.Contains(log.String(), "another client removed our finalizer"), nil
		})
		if count := f.events(held, "NodeUnprotected"); count != 0 {
			t.Error("it was reported that another client removed the finalizer")
		}
	})
	t.Run("on request", func(t *testing.T) {
		f := setUp(t, both)
		fail(f)
		f.start(f.options())
		node := f.protected("worker")
		f.request(node, firstRequest)
		f.awaitState(node, api.Failed)
		before := f.record(node)
		f.configure(drain)
		f.awaitState(node, api.Succeeded)
		if run := f.record(node); run.State != api.Succeeded || run.ConfigHash == before.ConfigHash {
			t.Errorf("the record says %+v", run)
		}
		f.delete(node)
		f.awaitDeleted(node)
		if count := f.events(node, "CleanupCompleted"); count < 1 || count > 2 {
			t.Errorf("the end was reported %d times, want once for the request and once for the deletion", count)
		}
	})
}
