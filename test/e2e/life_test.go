//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
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
func TestTheLifeOfAnInstall(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	prove(t, "install",
		part{"agents are ready under the restricted level", func(t *testing.T) {
			// The webhook alone: with the policy, nobody would notice that it is not called.
			installPrevious(t, "--wait", "--image", repository+":"+oldVersion, "--config", config, "--admission", "webhook")
			wantAgents(t, oldVersion)
		}},
		part{"check and status find nothing wrong", checkFindsNothing},
		part{"admission reaches the agent through its Service", protectsAtOnce("life-1")},
		part{"a deleted node goes when its pods are gone", drains("life-1", "3/3")},
		part{"another agent goes on when the leader is killed", leaderKilled},
		part{"an upgrade under load loses no node", func(t *testing.T) { upgraded(t, config) }},
		part{"uninstall leaves nothing", func(t *testing.T) {
			run(t, exit.OK, "uninstall", "--yes")
			wantNothingLeft(t)
			if _, err := client.CoreV1().Namespaces().Get(t.Context(), api.Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("the namespace is still there: %v", err)
			}
		}},
	)
}

func leaderKilled(t *testing.T) {
	unblock := deleteBlocked(t, "life-2")
	run(t, exit.Unhealthy, "diagnose", "life-2")
	leader := leader(t)
	if err := client.CoreV1().Pods(api.Namespace).Delete(t.Context(), leader, *metav1.NewDeleteOptions(0)); err != nil {
		t.Fatalf("killing the leader: %v", err)
	}
	unblock()
	eventually(t, "node life-2 is gone", isGone("life-2"))
	eventually(t, "two agents are ready again", func(context.Context) (bool, error) {
		ready := 0
		for _, pod := range agents(t) {
			if pod.Name != leader && isReady(&pod) {
				ready++
			}
		}
		return ready == 2, nil
	})
}

func leader(t *testing.T) string {
	t.Helper()
	lease, err := client.CoordinationV1().Leases(api.Namespace).Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return *lease.Spec.HolderIdentity
}

func upgraded(t *testing.T, config string) {
	// With Fail, a request that is lost is an error, and not a node that the watcher protects later.
	fail := []string{"--config", config, "--admission", "webhook", "--set", "failurePolicy=Fail,webhookTimeoutSeconds=20", "--wait"}
	installPrevious(t, append(fail, "--image", repository+":"+oldVersion)...)
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
	run(t, exit.OK, append([]string{"install", "--image", repository + ":" + newVersion}, fail...)...)
	awaitOldGone(t)
	stop()
	group.Wait()
	t.Logf("%d creations during the upgrade: %d failed, %d unprotected", calls.Load(), failed.Load(), unprotected.Load())
	if calls.Load() == 0 || failed.Load() > 0 || unprotected.Load() > 0 {
		t.Errorf("%d creations during the upgrade: %d failed, %d unprotected", calls.Load(), failed.Load(), unprotected.Load())
	}
	wantAgents(t, newVersion)
	if said := run(t, exit.OK, "version"); !strings.Contains(said, newVersion) {
		t.Errorf("version: %s", said)
	}
}
