// Package job is the plugin that runs a container image for a Node: it creates a Kubernetes Job, waits
// until the Job has finished, and reports its last log lines if it failed.
package job

import (
	_ "embed"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

//go:embed schema.json
var schema []byte

type options struct {
	// Namespace is the namespace of the Job. The list `jobs` of the config must contain it. It cannot be
	// the namespace of the agent, because a Pod there can use the agent's ServiceAccount and Secrets.
	Namespace string `json:"namespace" jsonschema:"required"`
	// ServiceAccountName is the ServiceAccount of the Pod. The list `jobs` of the config must contain it.
	ServiceAccountName string `json:"serviceAccountName"`
	// Template is the Pod template, with `metadata` and `spec`, unless `templateFrom` is set. The values of
	// environment variables can refer to the Node and to outputs.
	Template podTemplate `json:"template"`
	// TemplateFrom is the key of a ConfigMap in the same namespace with the Pod template as YAML, instead
	// of `template`. Every new Job reads it.
	TemplateFrom *templateFrom `json:"templateFrom"`
	// OnNode runs the Pod on the Node that is cleaned up, for a command on the host. It then tolerates
	// every taint. Otherwise, the Pod never runs on that Node.
	OnNode bool `json:"onNode" jsonschema:"default=false"`
	// Outputs are the names of the outputs that the container writes to its termination message, as
	// lines `name=value`.
	Outputs []string `json:"outputs"`
	// LogLines is the number of log lines in the error of a failed Job, counted from the end, from 0 to 50.
	LogLines int64 `json:"logLines" jsonschema:"minimum=0,maximum=50"`
	// LogProgress shows the last line of the container's log as the progress of the step.
	LogProgress bool `json:"logProgress" jsonschema:"default=false"`
	// TTL is how long a finished Job is kept. It must be longer than an outage of the agent: if the Job
	// is deleted before the agent has read its result, the step runs again. It is from 10m to 8760h.
	TTL metav1.Duration `json:"ttl"`
}

// templateFrom names a key of a ConfigMap.
type templateFrom struct {
	// ConfigMap is the name of the ConfigMap.
	ConfigMap string `json:"configMap" jsonschema:"required"`
	// Key is the key with the Pod template.
	Key string `json:"key" jsonschema:"default=template.yaml"`
}

const (
	defaultKey  = "template.yaml"
	minTTL      = 10 * time.Minute
	maxTTL      = 365 * 24 * time.Hour // ttlSecondsAfterFinished has 32 bits.
	maxLogLines = 50
)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if problems := validation.IsDNS1123Label(o.Namespace); len(problems) > 0 {
		fault("namespace", "%q is not a valid name of a namespace: %s", o.Namespace, problems[0])
	}
	if problems := validation.IsDNS1123Subdomain(o.ServiceAccountName); len(problems) > 0 {
		fault("serviceAccountName", "%q is not a valid name of a ServiceAccount: %s", o.ServiceAccountName, problems[0])
	}
	switch {
	case o.TemplateFrom == nil && !o.Template.given:
		fault("template", "set template or templateFrom")
	case o.TemplateFrom != nil && o.Template.given:
		fault("templateFrom", "cannot be combined with template")
	case o.Template.given:
		for _, problem := range o.Template.problems("template", o.ServiceAccountName) {
			faults = append(faults, problem)
		}
	default:
		if problems := validation.IsDNS1123Subdomain(o.TemplateFrom.ConfigMap); len(problems) > 0 {
			fault("templateFrom.configMap", "%q is not a valid name of a ConfigMap: %s", o.TemplateFrom.ConfigMap, problems[0])
		}
		if o.TemplateFrom.Key == "" {
			o.TemplateFrom.Key = defaultKey
		}
	}
	for i, name := range o.Outputs {
		path := fmt.Sprintf("outputs[%d]", i)
		if err := cleanup.CheckOutput(name, ""); err != nil {
			fault(path, "%v", err)
		} else if slices.Contains(o.Outputs[:i], name) {
			fault(path, "%q is listed twice", name)
		}
	}
	if len(o.Outputs) > cleanup.MaxOutputs {
		fault("outputs", "has %d names, the maximum is %d", len(o.Outputs), cleanup.MaxOutputs)
	}
	if o.LogLines < 0 || o.LogLines > maxLogLines {
		fault("logLines", "must be from 0 to %d, not %d", maxLogLines, o.LogLines)
	}
	if o.TTL.Duration < minTTL || o.TTL.Duration > maxTTL {
		fault("ttl", "must be from %s to %s, not %s", minTTL, maxTTL, o.TTL.Duration)
	}
	return faults
}

// Descriptor describes the plugin. The namespace is that of the agent, in which no Job may run. It is empty if
// it is not known.
func Descriptor(client kubernetes.Interface, clock clock.WithTicker, namespace string) cleanup.Descriptor {
	defaults := options{ServiceAccountName: "default", LogLines: 10, TTL: metav1.Duration{Duration: 24 * time.Hour}}
	return cleanup.Descriptor{
		Name:           "job",
		Summary:        "runs a container image as a Kubernetes Job",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 10 * time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			if err := CheckNamespace(o.Namespace, namespace); err != nil {
				return nil, err
			}
			return &plugin{options: o, client: client, clock: clock}, nil
		}),
	}
}

// CheckNamespace returns an OptionError if no Job may run in a namespace, because it is that of the agent.
func CheckNamespace(namespace, agent string) error {
	if namespace != agent && namespace != api.Namespace {
		return nil
	}
	return cleanup.OptionError{Path: "namespace", Problem: fmt.Sprintf("is %s, the namespace of the agent: a Pod there can use the agent's ServiceAccount and Secrets. Set another namespace", namespace)}
}

type plugin struct {
	options
	client kubernetes.Interface
	clock  clock.WithTicker
}

// OutputNames implements cleanup.OutputNamer.
func (p *plugin) OutputNames() []string { return append([]string{}, p.Outputs...) }

// RunsPods implements cleanup.PodRunner.
func (p *plugin) RunsPods() cleanup.PodRun {
	return cleanup.PodRun{Namespace: p.Namespace, ServiceAccountName: p.ServiceAccountName, OnNode: p.OnNode}
}
