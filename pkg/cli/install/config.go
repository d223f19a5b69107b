package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

func (o *Options) readConfig() error {
	data, err := o.configText()
	if err != nil {
		return &exit.Error{Code: exit.Usage, Err: fmt.Errorf("reading the config: %w", err)}
	}
	o.config = data
	var faults config.Errors
	if _, err := config.Parse(data, o.Catalog()); errors.As(err, &faults) && faults.OnlyUnknown() {
		return nil // The agent may have these plugins: see checkConfig.
	}
	_, err = o.valid(data, o.ConfigFile, preview.Catalog{Plugins: o.Catalog()}, install.Options{})
	return err
}

// configText returns the content of the file with the config, or of stdin if its name is "-".
func (o *Options) configText() ([]byte, error) {
	if o.ConfigFile != "-" {
		return os.ReadFile(o.ConfigFile)
	}
	data, err := io.ReadAll(o.In)
	if err == nil && len(data) == 0 {
		err = errors.New("stdin is empty")
	}
	return data, err
}

// valid checks and returns the user's config. An agent of another image can have plugins that are
// unknown until it runs: then the config is nil.
func (o *Options) valid(data []byte, from string, catalog preview.Catalog, options install.Options) (*config.Config, error) {
	settings, err := catalog.Parse(data)
	if err == nil {
		return settings, runsNoPodIn(settings, options.Namespace)
	}
	var faults config.Errors
	if errors.As(err, &faults) && faults.OnlyUnknown() && (options.Image != "" || options.AgentURL != "") {
		o.Say("WARNING: the config %s names plugins that this CLI does not know. The agent refuses it if it does not have them, or lacks rights that they need:%v",
			from, preview.Indented{Err: err})
		return nil, nil
	}
	return nil, &exit.Error{
		Code: exit.Failure,
		Err:  fmt.Errorf("checking the config %s:%w", from, preview.Indented{Err: err}),
		Next: "Fix the lines above; nothing was sent to the cluster.",
	}
}

// runsNoPodIn returns an error if a step runs Pods in the namespace of the agent.
func runsNoPodIn(settings *config.Config, namespace string) error {
	for _, step := range settings.Steps {
		if runner, is := step.Bound.(cleanup.PodRunner); is && runner.RunsPods().Namespace == namespace {
			return &exit.Error{
				Code: exit.Failure,
				Err:  fmt.Errorf("checking the config: step %s runs Pods in namespace %s, which is that of the agent: they can use its service account and Secrets", step.Name, namespace),
				Next: "Set another namespace in the options of the step and in jobs. Nothing was sent to the cluster.",
			}
		}
	}
	return nil
}

// catalog returns the possible plugins of the installed agent: the plugins that the running agent
// has reported, and the plugins of this CLI.
func (o *Options) catalog(ctx context.Context, client kubernetes.Interface, namespace string) preview.Catalog {
	return preview.ReadCatalog(ctx, client, namespace, o.Catalog()).With(o.Catalog())
}

// checkConfig checks the resulting config before any object is stored, and returns it. The config of a
// kustomization must be valid. An existing config may belong to a version with other plugins, so
// only the user can decide whether it is intended: then the config is nil. It is also nil if the
// install brings the base's config.
func (o *Options) checkConfig(ctx context.Context, client kubernetes.Interface, options install.Options) (*config.Config, error) {
	catalog := o.catalog(ctx, client, options.Namespace)
	if options.Config != nil {
		return o.valid(options.Config, o.ConfigFile, catalog, options)
	}
	if options.Kustomization != "" {
		rendered, err := renderObjects(ctx, options)
		if err != nil {
			return nil, err
		}
		if brought, err := options.ConfigBrought(rendered); err != nil || brought != nil {
			return o.checkBrought(options, rendered, catalog)
		}
	}
	configMap, err := client.CoreV1().ConfigMaps(options.Namespace).Get(ctx, api.ConfigName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the config that stays: %w", err)
	}
	settings, err := config.Parse([]byte(configMap.Data[api.ConfigKey]), catalog.Plugins)
	if err == nil {
		err = runsNoPodIn(settings, options.Namespace)
	}
	if err != nil {
		settings = nil
		o.Say("WARNING: the config on the cluster stays, and an agent of this version refuses it:%v\nFix it: kubectl nodecleanup config edit. Or give another: --config FILE", preview.Indented{Err: err})
	}
	return settings, nil
}

// stepRules returns the rights that the agent needs for a config. If the config is not known, they are
// those that the previous install into the namespace gave it: nil for those of the base's config, if it
// has none. A Role that is not in the inventory can have been written by the owner of its namespace.
func stepRules(ctx context.Context, client kubernetes.Interface, namespace string, settings *config.Config) (map[string][]rbacv1.PolicyRule, error) {
	if settings != nil {
		return access.OfConfig(settings), nil
	}
	role, err := client.RbacV1().ClusterRoles().Get(ctx, api.AgentSteps, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the rights of the configured steps: %w", err)
	}
	rules := map[string][]rbacv1.PolicyRule{"": role.Rules}
	namespaces, err := install.StepNamespaces(ctx, client, namespace)
	if err != nil {
		return nil, err
	}
	for _, one := range namespaces {
		role, err := client.RbacV1().Roles(one).Get(ctx, api.AgentSteps, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return nil, fmt.Errorf("reading the rights of the configured steps in namespace %s: %w", one, err)
		case one != namespace: // No step runs Pods there.
			rules[one] = role.Rules
		}
	}
	return rules, nil
}

// renderObjects returns the objects of an install. Errors are usage errors, unless the timeout
// passed first.
func renderObjects(ctx context.Context, options install.Options) ([]*unstructured.Unstructured, error) {
	objects, err := install.Render(ctx, options)
	if err != nil && ctx.Err() == nil {
		return nil, &exit.Error{Code: exit.Usage, Err: err}
	}
	return objects, err
}

// checkBrought checks and returns the config of a kustomization, if it has one.
func (o *Options) checkBrought(options install.Options, rendered []*unstructured.Unstructured, catalog preview.Catalog) (*config.Config, error) {
	brought, err := options.ConfigBrought(rendered)
	if err != nil || brought == nil {
		return nil, err
	}
	return o.valid(brought, "that the kustomization in "+options.Kustomization+" brings", catalog, options)
}
