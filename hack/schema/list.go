package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// listOf returns the page that lists all plugins. Those that the default agent lacks are in the image for clouds.
func listOf(all, standard []cleanup.Descriptor) []byte {
	var page bytes.Buffer
	fmt.Fprint(&page, `# Plugins

Each plugin has a page with its options, an example, and what happens if something fails. On the command line, see
`+"`kubectl nodecleanup plugins describe NAME`"+`. "Cloud" is the [cloud image](../../docs/install.md#images). To add your own, see
[docs/plugins.md](../../docs/plugins.md).

| plugin | what it does | step | notification | image |
|---|---|---|---|---|
`)
	for _, plugin := range slices.SortedFunc(slices.Values(all), func(a, b cleanup.Descriptor) int { return cmp.Compare(a.Name, b.Name) }) {
		step, notification, image := "no", "no", "default"
		if plugin.Bind != nil {
			step = "optional"
			if plugin.Defaults.Critical {
				step = "critical"
			}
		}
		if plugin.BindNotifier != nil {
			notification = "yes"
		}
		if !slices.ContainsFunc(standard, func(one cleanup.Descriptor) bool { return one.Name == plugin.Name }) {
			image = "cloud"
		}
		fmt.Fprintf(&page, "| [%[1]s](%[1]s/README.md) | %s | %s | %s | %s |\n", plugin.Name, plugin.Summary, step, notification, image)
	}
	fmt.Fprint(&page, `
A critical step keeps the Node until it has succeeded; a failed optional step does not. `+"`critical`"+` in the config overrides the default.

## What needs no plugin

Other programs do this when a Node is deleted. Most wait until the Node no longer exists, so a step, which keeps the Node, cannot wait for them.

| what | who does it |
|---|---|
| the CiliumNode of the Node | Kubernetes, by its owner reference, and the operator of Cilium ([17329](https://github.com/cilium/cilium/pull/17329), [19576](https://github.com/cilium/cilium/pull/19576)) |
| the addresses of the Node in Calico | calico-kube-controllers ([node controller](https://github.com/projectcalico/calico/tree/master/kube-controllers/pkg/controllers/node)) |
| the Node of Longhorn | Longhorn. The plugin `+"`longhorn`"+` moves the data before |
| DNS records of external-dns | external-dns, which skips unschedulable Nodes ([4761](https://github.com/kubernetes-sigs/external-dns/pull/4761)) |
| the Node in load balancers of Services | the service controller of the cloud provider, as soon as the Node is being deleted. The AWS Load Balancer Controller does not: see `+"`aws-target-groups`"+` |
| the etcd member in k3s, RKE2 and Cluster API | their own controllers, with their own finalizer or hook |
`)
	return page.Bytes()
}
