//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// An overlay as a site would write it: its image, its config, and two components. It uses the
// webhook alone: with the policy, a webhook that is never called would not be noticed.
const kustomization = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s/base]
components: [%[1]s/components/network-policy, %[1]s/components/webhook-only]
images:
- {name: ghcr.io/nodecleanup/nodecleanup-agent, newName: %s, newTag: %s}
patches:
- patch: |-
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: nodecleanup-config, namespace: nodecleanup-system}
    data:
      config.yaml: |
        %s
`

// A webhook that fails closed: a request that is lost is an error.
const failing = `- target: {kind: MutatingWebhookConfiguration}
  patch: |-
    - {op: replace, path: /webhooks/0/failurePolicy, value: Fail}
    - {op: replace, path: /webhooks/0/timeoutSeconds, value: 20}
`

func TestKustomize(t *testing.T) {
	folder := t.TempDir()
	overlay := func(t *testing.T, sources, version, more string) {
		t.Helper()
		// Kustomize rejects absolute folders.
		manifests, err := filepath.Rel(folder, filepath.Join(sources, "manifests"))
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(kustomization, manifests, repository, version, strings.ReplaceAll(strings.TrimSpace(settings), "\n", "\n        "))
		if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text+more), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	apply := func(t *testing.T) {
		t.Helper()
		kubectl(t, "apply", "-k", folder)
		kubectl(t, "--namespace", api.Namespace, "rollout", "status", "deployment/"+api.Agent, "--timeout", "2m")
	}
	prove(t, "kustomize",
		part{"the API server takes every overlay that is shipped", takesOverlays},
		part{"kubectl apply -k: agents are ready under the restricted level", func(t *testing.T) {
			overlay(t, previous, oldVersion, "")
			apply(t)
			wantAgents(t, oldVersion)
		}},
		part{"admission reaches the agent through its Service", protectsAtOnce("kustomize-1")},
		part{"check and status find nothing wrong", checkFindsNothing},
		part{"a deleted node is removed when its pods are deleted", drains("kustomize-1", "3/3")},
		part{"another agent takes over when the leader is killed", leaderKilled("kustomize-leader")},
		part{"kubectl apply -k under load loses no node, and nothing that the agent wrote", func(t *testing.T) {
			overlay(t, previous, oldVersion, failing)
			apply(t)
			underLoad(t, func() {
				overlay(t, root, newVersion, failing)
				apply(t)
			})
			wantAgents(t, newVersion)
			protectsAtOnce("kustomize-2")(t)
			checkFindsNothing(t)
		}},
		part{"uninstall, then kubectl delete -k: nothing is left", func(t *testing.T) {
			run(t, exit.OK, "uninstall", "--yes")
			wantNothingLeft(t)
			kubectl(t, "delete", "-k", folder, "--ignore-not-found")
			awaitNoNamespace(t)
		}},
	)
}
