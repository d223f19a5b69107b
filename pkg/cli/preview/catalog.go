package preview

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// Catalog is which plugins a config may name.
type Catalog struct {
	Plugins []cleanup.Descriptor
	// Note explains why the catalog has the plugins of the CLI instead of the agent's, "" if it
	// has the agent's.
	Note string
}

// ReadCatalog returns the plugins that the agent has reported. The CLI checks the options of
// plugins that it has too. If no agent has reported its plugins, it returns the plugins of the
// CLI.
func ReadCatalog(ctx context.Context, client kubernetes.Interface, namespace string, own []cleanup.Descriptor) Catalog {
	status, err := cluster.AgentStatus(ctx, client, namespace)
	switch {
	case apierrors.IsForbidden(err):
		return ownCatalog(own, "you are not allowed to read which plugins the agent has")
	case err != nil:
		return ownCatalog(own, fmt.Sprintf("cannot read which plugins the agent has (%v)", err))
	}
	return catalogOf(status, own)
}

// catalogOf returns the plugins in a status, which is nil if there is none.
func catalogOf(status *api.AgentStatus, own []cleanup.Descriptor) Catalog {
	switch {
	case status == nil || status.Version == "":
		return ownCatalog(own, "no agent has reported its plugins yet")
	case status.Catalog == nil:
		return ownCatalog(own, fmt.Sprintf("the agent (%s) does not report its plugins", status.Version))
	}
	var catalog Catalog
	for _, info := range status.Catalog {
		at := slices.IndexFunc(own, func(descriptor cleanup.Descriptor) bool { return descriptor.Name == info.Name })
		if at < 0 {
			catalog.Plugins = append(catalog.Plugins, absent(info))
			continue
		}
		descriptor := own[at]
		descriptor.Bind, descriptor.BindNotifier = nil, nil
		if !info.OnlyNotifies {
			descriptor.Bind = newer(info, own[at].OptionNames(), own[at].Bind)
		}
		if info.Notifies {
			descriptor.BindNotifier = newer(info, own[at].OptionNames(), own[at].BindNotifier)
		}
		catalog.Plugins = append(catalog.Plugins, descriptor)
	}
	return catalog
}

// With returns the catalog with those plugins of the CLI that it lacks: an agent that the CLI installs
// has them, too.
func (c Catalog) With(own []cleanup.Descriptor) Catalog {
	for _, descriptor := range own {
		if !slices.ContainsFunc(c.Plugins, func(other cleanup.Descriptor) bool { return other.Name == descriptor.Name }) {
			c.Plugins = append(slices.Clip(c.Plugins), descriptor)
		}
	}
	return c
}

func ownCatalog(own []cleanup.Descriptor, why string) Catalog {
	var names []string
	for _, descriptor := range own {
		names = append(names, descriptor.Name)
	}
	return Catalog{Plugins: own, Note: fmt.Sprintf("%s, so this CLI knows only its own plugins: %s", why, strings.Join(names, ", "))}
}

// Absent is a plugin that the agent has and the CLI has not, or not with these options.
type Absent struct {
	// Why is the explanation for the user.
	Why string
}

// Cleanup implements cleanup.Plugin.
func (a Absent) Cleanup(context.Context, cleanup.Target) error { return errors.New(a.Why) }

// Notify implements cleanup.Notifier.
func (a Absent) Notify(context.Context, cleanup.Notification) (string, error) {
	return "", errors.New(a.Why)
}

// OutputNames implements cleanup.OutputNamer: only the agent knows the names.
func (a Absent) OutputNames() []string { return nil }

// absent describes a plugin that only the agent has.
func absent(info api.PluginInfo) cleanup.Descriptor {
	why := "this CLI does not have plugin " + info.Name
	descriptor := cleanup.Descriptor{
		Name: info.Name, Summary: info.Summary, Options: info.Options,
		Defaults: cleanup.Policy{Critical: info.Critical, Timeout: info.Timeout.Duration},
	}
	if !info.OnlyNotifies {
		descriptor.Bind = bind[cleanup.Plugin](info, why)
	}
	if info.Notifies {
		descriptor.BindNotifier = bind[cleanup.Notifier](info, why)
	}
	return descriptor
}

// newer binds the plugin of the CLI, unless only the agent knows the options, or can use the plugin as a P.
func newer[P any](info api.PluginInfo, known []string, own func([]byte) (P, []error)) func([]byte) (P, []error) {
	return func(data []byte) (P, []error) {
		for _, name := range optionsIn(data) {
			if !slices.Contains(known, name) && slices.Contains(info.Options, name) {
				return bind[P](info, fmt.Sprintf("this CLI does not know option %s of plugin %s", name, info.Name))(data)
			}
		}
		if own == nil {
			return bind[P](info, fmt.Sprintf("this CLI cannot use plugin %s in this way", info.Name))(data)
		}
		return own(data)
	}
}

// bind checks the names of options, and leaves their values to the agent. P is an interface of Absent.
func bind[P any](info api.PluginInfo, why string) func([]byte) (P, []error) {
	return func(data []byte) (P, []error) {
		var faults []error
		for _, name := range optionsIn(data) {
			if info.Options != nil && !slices.Contains(info.Options, name) {
				faults = append(faults, fmt.Errorf("unknown field %q", name))
			}
		}
		return any(Absent{why}).(P), faults
	}
}

// optionsIn returns the names of the options in JSON, sorted.
func optionsIn(data []byte) []string {
	var options map[string]json.RawMessage
	if json.Unmarshal(data, &options) != nil {
		return nil // No options, or not an object, which the plugin refuses.
	}
	var names []string
	for name := range options {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
