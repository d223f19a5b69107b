package access_test

import (
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// jobs are the rights of steps of plugin job in a namespace.
func jobs(namespace, account string, configMaps ...string) string {
	text := ""
	for _, name := range configMaps {
		text += "get configmaps/" + name + " in namespace NS, "
	}
	text += "list events in namespace NS, list pods in namespace NS, get pods/log in namespace NS, get serviceaccounts/" + account + " in namespace NS, " +
		"create jobs.batch in namespace NS, delete jobs.batch in namespace NS, list jobs.batch in namespace NS, watch jobs.batch in namespace NS"
	return strings.ReplaceAll(text, "NS", namespace)
}

func TestRightsFollowTheConfig(t *testing.T) {
	const (
		drain   = "get namespaces, list pods, watch pods, create pods/eviction, "
		budgets = "list poddisruptionbudgets.policy, watch poddisruptionbudgets.policy"
		request = "create evictionrequests.lifecycle.k8s.io, delete evictionrequests.lifecycle.k8s.io, list evictionrequests.lifecycle.k8s.io, watch evictionrequests.lifecycle.k8s.io, "
	)
	for name, test := range map[string]struct{ config, want string }{
		"logger":           {"steps: [{name: a, plugin: logger}]", ""},
		"http":             {"steps: [{name: a, plugin: http, options: {url: 'https://x'}}]", ""},
		"drain":            {"steps: [{name: a, plugin: drain}]", drain + request + budgets},
		"drain by request": {"steps: [{name: a, plugin: drain, options: {api: evictionRequest}}]", drain + request + budgets},
		"drain by eviction": {
			"steps: [{name: a, plugin: drain, options: {api: eviction}}]", drain + budgets,
		},
		"drain that deletes": {
			"steps: [{name: a, plugin: drain, options: {api: eviction, forceAfter: 20m}}]",
			"get namespaces, delete pods, list pods, watch pods, create pods/eviction, " + budgets,
		},
		"drain that restarts": {
			"steps: [{name: a, plugin: drain, options: {api: eviction, rules: [{selector: {matchLabels: {a: b}}, action: rolloutRestart}]}}]",
			drain + "get deployments.apps, patch deployments.apps, get statefulsets.apps, patch statefulsets.apps, " + budgets,
		},
		"volumes": {
			"steps: [{name: a, plugin: volumes}]",
			"get persistentvolumeclaims, list pods, list volumeattachments.storage.k8s.io, watch volumeattachments.storage.k8s.io",
		},
		"guard": {
			"guard: {criticalPods: [{namespaces: [kube-system]}]}\nsteps: [{name: a, plugin: logger}]", "list pods",
		},
		"jobs": {
			"jobs: [{namespace: ops, serviceAccounts: [a]}, {namespace: apps, serviceAccounts: [b]}]\nsteps:\n" +
				"- {name: a, plugin: job, options: {namespace: ops, serviceAccountName: a, templateFrom: {configMap: t}}}\n" +
				"- {name: b, plugin: job, options: {namespace: apps, serviceAccountName: b, templateFrom: {configMap: t}}}\n" +
				"- {name: c, plugin: job, options: {namespace: apps, serviceAccountName: b, templateFrom: {configMap: u}}}",
			jobs("apps", "b", "t", "u") + ", " + jobs("ops", "a", "t"),
		},
		"OSDs of Rook": {
			"jobs: [{namespace: rook-ceph, serviceAccounts: [default]}]\nsteps: [{name: a, plugin: rook-ceph}]",
			strings.ReplaceAll(jobs("rook-ceph", "default"), "create jobs", strings.ReplaceAll("delete deployments.apps NS, list deployments.apps NS, patch deployments.apps NS, create jobs", "NS", "in namespace rook-ceph")) +
				", list cephclusters.ceph.rook.io in namespace rook-ceph",
		},
		"Portworx": {
			"jobs: [{namespace: portworx, serviceAccounts: [default]}]\nsteps: [{name: a, plugin: portworx, options: {image: busybox}}]",
			jobs("portworx", "default") + ", get storagenodes.core.libopenstorage.org in namespace portworx",
		},
		"two steps of a plugin": {
			"steps: [{name: a, plugin: volumes}, {name: b, plugin: volumes}, {name: c, plugin: logger}]",
			"get persistentvolumeclaims, list pods, list volumeattachments.storage.k8s.io, watch volumeattachments.storage.k8s.io",
		},
	} {
		settings, err := config.Parse([]byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"+test.config), plugins.Catalog(plugins.Dependencies{}))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		grants := access.OfConfig(settings)
		if got := grants.Describe(); got != test.want || grants[""] == nil {
			t.Errorf("%s: the rights are\n%s, want\n%s", name, got, test.want)
		}
	}
}
