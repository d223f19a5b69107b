//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/node"
)

const settings = `apiVersion: nodecleanup.io/v1alpha1
kind: Config
retry: {initialDelay: 1s, maxDelay: 5s}
steps:
- {name: drain, plugin: drain, critical: true, timeout: 5m}
- {name: volumes, plugin: volumes, critical: true, dependsOn: [drain]}
- {name: tell, plugin: logger, dependsOn: [volumes]}
`

// The life of an install: each part needs those before it.
func TestInstallLifecycle(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	prove(t, "install",
		part{"agents are ready under the restricted level", func(t *testing.T) {
			// The webhook alone: with the policy, a webhook that is never called would not be
			// noticed.
			installPrevious(t, "--wait", "--image", repository+":"+oldVersion, "--config", config, "--admission", "webhook")
			wantAgents(t, oldVersion)
		}},
		part{"check and status find nothing wrong", checkFindsNothing},
		part{"admission reaches the agent through its Service", protectsAtOnce("life-1")},
		part{"a deleted node is removed when its pods are deleted", drains("life-1", "3/3")},
		part{"another agent takes over when the leader is killed", leaderKilled("life-2")},
		part{"an upgrade under load loses no node", func(t *testing.T) { upgraded(t, config) }},
		part{"a node that a real kubelet plays is drained", drainsRealNode},
		part{"uninstall leaves nothing", func(t *testing.T) {
			run(t, exit.OK, "uninstall", "--yes")
			wantNothingLeft(t)
			if _, err := client.CoreV1().Namespaces().Get(t.Context(), api.Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("the namespace is still there: %v", err)
			}
		}},
	)
}

// leaderKilled kills the leader while the cleanup of a node waits.
func leaderKilled(name string) func(*testing.T) {
	return func(t *testing.T) {
		unblock := deleteBlocked(t, name)
		run(t, exit.Unhealthy, "diagnose", name)
		killed := leader(t)
		if err := client.CoreV1().Pods(api.Namespace).Delete(t.Context(), killed, *metav1.NewDeleteOptions(0)); err != nil {
			t.Fatalf("killing the leader: %v", err)
		}
		eventually(t, "another agent than "+killed+" holds the Lease", func(context.Context) (bool, error) {
			holder := leader(t)
			return holder != "" && holder != killed, nil
		})
		unblock()
		eventually(t, "node "+name+" is deleted", isDeleted(name))
		eventually(t, "two agents are ready again", func(context.Context) (bool, error) {
			ready := 0
			for _, pod := range agents(t) {
				if pod.Name != killed && isReady(&pod) {
					ready++
				}
			}
			return ready == 2, nil
		})
		if holder := leader(t); holder == killed {
			t.Errorf("%s, which was killed, holds the Lease again", holder)
		}
	}
}

func leader(t *testing.T) string {
	t.Helper()
	lease, err := client.CoordinationV1().Leases(api.Namespace).Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

func upgraded(t *testing.T, config string) {
	// With Fail, a request that is lost is an error, and not a node that the watcher protects later.
	fail := []string{"--config", config, "--admission", "webhook", "--set", "failurePolicy=Fail,webhookTimeoutSeconds=20", "--wait"}
	installPrevious(t, append(fail, "--image", repository+":"+oldVersion)...)
	underLoad(t, func() {
		run(t, exit.OK, append([]string{"install", "--image", repository + ":" + newVersion}, fail...)...)
	})
	wantAgents(t, newVersion)
	if said := run(t, exit.OK, "version"); !strings.Contains(said, newVersion) {
		t.Errorf("version: %s", said)
	}
}

// underLoad continuously creates nodes as dry runs while the agents are replaced. Their webhook
// must fail closed, so that a lost request is an error.
func underLoad(t *testing.T, upgrade func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var calls, failed, unprotected atomic.Int64
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				made, err := makeNode(t.Context(), fmt.Sprintf("load-%d", i), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				calls.Add(1)
				switch {
				case err != nil:
					if failed.Add(1) <= 3 {
						t.Errorf("a creation failed: %v", err)
					}
				case !api.HasFinalizer(made):
					unprotected.Add(1)
				}
			}
		})
	}
	end := sync.OnceFunc(func() {
		stop()
		group.Wait()
	})
	t.Cleanup(end)
	upgrade()
	awaitOldDeleted(t)
	end()
	t.Logf("%d creations during the upgrade: %d failed, %d unprotected", calls.Load(), failed.Load(), unprotected.Load())
	if calls.Load() == 0 || failed.Load() > 0 || unprotected.Load() > 0 {
		t.Errorf("%d creations during the upgrade: %d failed, %d unprotected", calls.Load(), failed.Load(), unprotected.Load())
	}
}

// drainsRealNode evicts a pod whose containers a real kubelet ends. The agents run on that node
// too, the only one, so its cleanup is withdrawn when the pod is deleted.
func drainsRealNode(t *testing.T) {
	makePods(t, node.Name, 1)
	pods := client.CoreV1().Pods(metav1.NamespaceDefault)
	running, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + node.Name})
	if err != nil || len(running.Items) != 1 || !strings.HasPrefix(running.Items[0].Status.ContainerStatuses[0].ContainerID, "containerd://") {
		t.Fatalf("pods %v, %v", running.Items, err)
	}
	evicted := running.Items[0]
	run(t, exit.OK, "cleanup", node.Name, "--yes", "--even-if-blocked")
	eventually(t, "pod "+evicted.Name+" is deleted", func(ctx context.Context) (bool, error) {
		_, err := pods.Get(ctx, evicted.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	events, err := shared.AuditLog()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(events, func(event cluster.AuditEvent) bool {
		return event.Subresource == "eviction" && event.Name == evicted.Name && event.Code == http.StatusCreated
	}) {
		t.Errorf("nobody evicted pod %s", evicted.Name)
	}
	if err := client.AppsV1().ReplicaSets(metav1.NamespaceDefault).Delete(t.Context(), node.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "annotate", "node", node.Name, api.AnnotationCleanupRequestedAt+"-")
	eventually(t, "node "+node.Name+" is as it was before, and two agents are ready on it", func(ctx context.Context) (bool, error) {
		current, err := client.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
		if err != nil || current.Spec.Unschedulable {
			return false, err
		}
		ready := 0
		for _, pod := range agents(t) {
			if pod.DeletionTimestamp == nil && isReady(&pod) {
				ready++
			}
		}
		return ready == 2, nil
	})
}
