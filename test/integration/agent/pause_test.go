package agent_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
)

// pausedAt is the time of the requests of these tests.
const pausedAt = "2026-01-31T04:00:00Z"

// pause writes the pause as the CLI does.
func (f *fixture) pause(value, at, reason string) {
	f.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q,%q:%q,%q:%q,%q:%q}}}`, api.AnnotationPause, value,
		api.AnnotationPauseBy, command.WhoAmI(f.Context(), f.client), api.AnnotationPauseAt, at, api.AnnotationPauseReason, reason)
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	f.eventually("the pause is written", func(ctx context.Context) (bool, error) {
		_, err := configMaps.Patch(ctx, api.StatusName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil // The agent has not written its status yet.
		}
		return err == nil, err
	})
}

// awaitPauseEvent waits for an Event about the status.
func (f *fixture) awaitPauseEvent(reason, text string) {
	f.Helper()
	f.eventually("there is an Event "+reason, func(ctx context.Context) (bool, error) {
		events, err := f.client.CoreV1().Events(f.namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=" + reason + ",involvedObject.name=" + api.StatusName})
		return err == nil && len(events.Items) > 0 && strings.Contains(events.Items[0].Message, text), err
	})
}

func TestDuringAPauseNoCleanupBegins(t *testing.T) {
	f := setUp(t, "steps:\n- {name: first, plugin: probe}\n- {name: second, plugin: probe, dependsOn: [first]}\n")
	var begun atomic.Int32
	started, finish := make(chan struct{}), make(chan struct{})
	f.probes[""] = func(ctx context.Context, target cleanup.Target) error {
		begun.Add(1)
		if target.Node.Name != "begun" {
			return nil
		}
		started <- struct{}{}
		select {
		case <-finish:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	stop := f.start(f.options())
	running, waits, bypassed := f.protected("begun"), f.protected("waits"), f.protected("bypassed")
	f.delete(running)
	<-started
	f.pause("true", pausedAt, "INC-7")
	f.awaitPauseEvent("CleanupsPaused", "INC-7")

	const reason = "at " + pausedAt + ": INC-7"
	f.delete(waits)
	if message := f.awaitState(waits, api.Pending); !strings.Contains(message, reason) {
		t.Errorf("the condition says %q", message)
	}
	f.awaitEvent(waits, "CleanupWaiting", reason)
	f.delete(bypassed)
	f.awaitState(bypassed, api.Pending)
	f.patch(bypassed, `{"metadata":{"annotations":{"`+api.AnnotationBypass+`":"true","`+api.AnnotationBypassBy+`":"admin"}}}`)
	f.awaitDeleted(bypassed)
	// A cleanup that has started runs all its steps.
	close(finish)
	<-started
	f.awaitDeleted(running)

	// The next agent reads the pause before any cleanup begins.
	stop()
	stop = f.start(f.options())
	later := f.protected("later")
	f.delete(later)
	f.awaitState(later, api.Pending)
	if begun := begun.Load(); begun != 2 {
		t.Errorf("%d steps began, want the 2 of the cleanup that had begun before the pause", begun)
	}
	for _, node := range []*corev1.Node{waits, later} {
		if condition := api.CleanupConditionOf(f.read(node)); condition.Reason != string(api.Pending) || !strings.Contains(condition.Message, reason) {
			t.Errorf("node %s is %s: %s", node.Name, condition.Reason, condition.Message)
		}
	}

	f.pause("false", pausedAt, "repaired")
	f.awaitDeleted(waits)
	f.awaitDeleted(later)
	f.awaitPauseEvent("CleanupsResumed", "repaired")
	if begun := begun.Load(); begun != 6 {
		t.Errorf("%d steps began, want 6", begun)
	}
	stop()
}

func TestRequestedCleanupWaitsDuringAPause(t *testing.T) {
	f := setUp(t, "steps:\n- {name: works, plugin: probe}\n")
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	f.start(f.options())
	f.pause("true", pausedAt, "INC-7")
	f.awaitPauseEvent("CleanupsPaused", "INC-7")
	node := f.protected("worker")
	f.patch(node, `{"metadata":{"annotations":{"`+api.AnnotationCleanupRequestedAt+`":"2026-01-31T04:00:00Z"}}}`)
	f.awaitState(node, api.Pending)
	if f.read(node).Spec.Unschedulable {
		t.Error("the node is cordoned although its cleanup has not begun")
	}
	f.pause("false", pausedAt, "")
	f.awaitState(node, api.Succeeded)
}

// No user has resumed.
func TestPauseSurvivesDeletionOfTheStatus(t *testing.T) {
	f := setUp(t, worksProbe)
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	stop := f.start(f.options())
	f.pause("true", pausedAt, "INC-7")
	f.awaitPauseEvent("CleanupsPaused", "INC-7")
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	for range 2 {
		if err := configMaps.Delete(t.Context(), api.StatusName, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: api.StatusName}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		f.eventually("the pause is stored again", func(ctx context.Context) (bool, error) {
			status, err := configMaps.Get(ctx, api.StatusName, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			pause := api.PauseOf(status)
			return pause.Paused && strings.HasSuffix(pause.Reason, "at "+pausedAt+": INC-7; the agent restored the pause after ConfigMap nodecleanup-status was deleted"), nil
		})
	}
	f.awaitPauseEvent("CleanupsPaused", "INC-7")
	stop()
	f.start(f.options()) // The next leader reads it.
	node := f.protected("worker")
	f.delete(node)
	if message := f.awaitState(node, api.Pending); !strings.Contains(message, "INC-7; the agent restored the pause") {
		t.Errorf("the condition says %q", message)
	}
	f.pause("false", pausedAt, "repaired")
	f.awaitDeleted(node)
}
