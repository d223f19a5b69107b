package agent_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Another client changes the Node while the patch is being sent.
func TestReleasePatchAppliesOnlyToTheCleanedUpNode(t *testing.T) {
	for name, test := range map[string]struct {
		// interfere changes the node, and returns a node that must stay.
		interfere func(f *fixture, node *corev1.Node) *corev1.Node
	}{
		"which is written": {func(f *fixture, node *corev1.Node) *corev1.Node {
			f.patch(node, `{"metadata":{"labels":{"theirs":"yes"}}}`)
			return nil
		}},
		"which is replaced": {func(f *fixture, node *corev1.Node) *corev1.Node {
			f.patch(node, `{"metadata":{"finalizers":null}}`)
			f.awaitDeleted(node)
			return f.protected(node.Name)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, logOnly)
			proxy := f.between()
			agent := f.processWith(proxy.kubeconfig(f))
			if err := agent.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			node := f.protected("worker")
			isPatch := func(r *http.Request) bool {
				return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/nodes/worker")
			}
			met, goOn, answered := make(chan struct{}), make(chan struct{}), make(chan struct{})
			var first, last sync.Once
			proxy.put(func(r *http.Request) bool {
				if isPatch(r) {
					first.Do(func() { close(met); <-goOn })
				}
				return false
			}, func(r *http.Request) {
				if isPatch(r) {
					last.Do(func() { close(answered) })
				}
			})
			f.delete(node)
			<-met
			stays := test.interfere(f, node)
			close(goOn)
			<-answered
			f.awaitDeleted(node)
			if err := agent.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if run := f.record(node); run.State != api.Succeeded {
				t.Errorf("the run record says %+v", run)
			}
			if stays != nil {
				if now := f.read(stays); now == nil || !api.HasFinalizer(now) || now.DeletionTimestamp != nil {
					t.Errorf("the node that took its name is %+v", now)
				}
			}
		})
	}
}

// The scheduler may bind Pods to it at once, and they would be lost with the Node.
func TestNodeUncordonedDuringReleaseIsDrainedAgain(t *testing.T) {
	f := setUp(t, "retry: {initialDelay: 100ms}\nsteps: [{name: drain, plugin: drain}]\n")
	proxy := f.between()
	agent := f.processWith(proxy.kubeconfig(f))
	if err := agent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	node := f.protected("worker")
	met, goOn := make(chan struct{}), make(chan struct{})
	var first sync.Once
	proxy.put(func(r *http.Request) bool {
		// A cordon names its field manager.
		if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/nodes/worker") && !r.URL.Query().Has("fieldManager") {
			first.Do(func() { close(met); <-goOn })
		}
		return false
	}, nil)
	f.delete(node)
	<-met
	f.patch(node, uncordon)
	pod := f.pod("cart", node)
	close(goOn)
	f.awaitEviction(pod, node)
	f.kill(pod)
	f.awaitDeleted(node)
	if step := f.record(node).Step("drain"); step.Attempts != 2 || !strings.Contains(step.Reason, "the node is not cordoned") {
		t.Errorf("the record says %+v", step)
	}
}
