// Package install renders the objects of an install, applies them, waits for them, and removes
// them again with all objects that the agent created. It works without an agent.
package install

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// Repository holds the agent's released images.
const Repository = "ghcr.io/nodecleanup/nodecleanup-agent"

// Options configure an install. The zero value is the base manifests in their own namespace, with
// the image of this CLI's version.
type Options struct {
	// Namespace of the agent; empty for api.Namespace.
	Namespace string
	// Image of the agent; empty for Repository at this CLI's version.
	Image string
	// Replicas of the agent; nil for those that run already, or the base's.
	Replicas *int32
	// Config is the content of a config file; nil for the one on the cluster,
	// or the base's. It is not checked here: a catalog of plugins is needed for that.
	Config []byte
	// StepRules are the rights that the config needs, by namespace: those under "" for the ClusterRole
	// api.AgentSteps, the others for a Role of that name. nil for those of the base's config. A catalog
	// of plugins is needed to know them.
	StepRules map[string][]rbacv1.PolicyRule
	// AgentURL is the webhook URL of an agent outside the cluster, such as https://127.0.0.1:9443,
	// for development. Then there is no Deployment and no Service.
	AgentURL string
	// Admission selects the component that adds the finalizer to new Nodes; empty for
	// AdmissionAuto.
	Admission Admission
	// Set changes single fields; see SettingNames.
	Set map[string]string
	// Kustomization is a folder with a kustomization that uses BaseName.
	Kustomization string
	// Build builds a kustomization; nil for KubectlKustomize.
	Build func(ctx context.Context, folder string) ([]byte, error)
}

// withDefaults returns the options with every empty value filled in that has
// one default.
func (o Options) withDefaults() Options {
	if o.Namespace == "" {
		o.Namespace = api.Namespace
	}
	if o.Image == "" {
		o.Image = Repository + ":" + version.Version
	}
	return o
}

// Validate returns every fault of the options, joined.
func (o Options) Validate() error {
	var faults []error
	if o.Namespace != "" {
		for _, problem := range validation.IsDNS1123Label(o.Namespace) {
			faults = append(faults, fmt.Errorf("namespace %q: %s", o.Namespace, problem))
		}
	}
	if o.Image != "" {
		if err := validateImage(o.Image); err != nil {
			faults = append(faults, err)
		}
	}
	if err := o.Admission.validate(); err != nil {
		faults = append(faults, err)
	}
	if o.Replicas != nil && *o.Replicas < 1 {
		faults = append(faults, fmt.Errorf("replicas must be at least 1, not %d", *o.Replicas))
	}
	if o.AgentURL != "" {
		if err := validateAgentURL(o.AgentURL); err != nil {
			faults = append(faults, err)
		}
		if o.Image != "" || o.Replicas != nil {
			faults = append(faults, errors.New("an agent URL means that no agent runs in the cluster: image and replicas have no effect"))
		}
	}
	return errors.Join(append(faults, o.settingFaults()...)...)
}

// validateAgentURL applies the API server's rules for the URL of a webhook.
func validateAgentURL(written string) error {
	parsed, err := url.Parse(written)
	switch {
	case err != nil:
		return fmt.Errorf("agent URL: %w", err)
	case parsed.Scheme != "https" || parsed.Host == "":
		return fmt.Errorf("agent URL %q: must begin with https:// and a host", written)
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		return fmt.Errorf("agent URL %q: must not have a user, a query or a fragment", written)
	case strings.Trim(parsed.Path, "/") != "":
		return fmt.Errorf("agent URL %q: must not have a path, %s is added", written, api.MutatePath)
	}
	return nil
}
