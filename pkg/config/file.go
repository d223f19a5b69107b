package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// file is the document as written. A nil pointer means that the field is absent. hack/schema generates
// the JSON Schema of the document from the comments and tags of its types.
type file struct {
	// APIVersion is the version of this document.
	APIVersion string `yaml:"apiVersion" jsonschema:"required,enum=nodecleanup.io/v1alpha1"`
	// Kind is the kind of this document.
	Kind string `yaml:"kind" jsonschema:"required,enum=Config"`
	// DryRun previews each step, changes nothing, and then releases the Node.
	DryRun bool `yaml:"dryRun" jsonschema:"default=false"`
	// NodeSelector selects the protected Nodes. Without it, all Nodes are protected.
	NodeSelector selector `yaml:"nodeSelector"`
	// Concurrency limits the work that is done at the same time.
	Concurrency fileConcurrency `yaml:"concurrency"`
	// Deadline limits the time of a cleanup.
	Deadline fileDeadline `yaml:"deadline"`
	// History limits the run records of deleted Nodes.
	History fileHistory `yaml:"history"`
	// Windows are the times at which cleanups may begin. Without them, cleanups may begin at any time.
	Windows []fileWindow `yaml:"windows"`
	// Brake says under which conditions the agent begins no further cleanups.
	Brake *fileBrake `yaml:"brake"`
	// Guard says which deletions of Nodes are denied.
	Guard fileGuard `yaml:"guard"`
	// Jobs are the namespaces and the ServiceAccounts with which steps may run Pods. Without them, no
	// step may.
	Jobs []fileJobs `yaml:"jobs"`
	// Retry configures the attempts after a failed one, for every step that does not override it.
	Retry fileRetry `yaml:"retry"`
	// Steps are the steps of a cleanup.
	Steps []fileStep `yaml:"steps" jsonschema:"required,minItems=1"`
	// Notifications tell people about cleanups.
	Notifications []fileNotification `yaml:"notifications" jsonschema:"maxItems=20"`
}

// Document returns the type of the document, from which hack/schema generates its JSON Schema.
func Document() reflect.Type { return reflect.TypeFor[file]() }

type fileConcurrency struct {
	// Nodes is how many Nodes are cleaned up at the same time.
	Nodes *int `yaml:"nodes" jsonschema:"minimum=1,default=50"`
	// StepsPerNode is how many steps run at the same time for one Node.
	StepsPerNode *int `yaml:"stepsPerNode" jsonschema:"minimum=1,default=4"`
	// Evictions is how many eviction requests are in flight at the same time, over all Nodes.
	Evictions *int `yaml:"evictions" jsonschema:"minimum=1,default=100"`
}

type fileDeadline struct {
	// After is how long the cleanup of a Node may take after its deletion. Without it, there is no
	// deadline.
	After *duration `yaml:"after"`
	// Action is what happens then. `Hold` reports it and keeps the Node. `Release` releases the
	// Node, even if steps are not done.
	Action DeadlineAction `yaml:"action" jsonschema:"enum=Hold,enum=Release,default=Hold"`
}

type fileHistory struct {
	// MaxAge is how long the run record of a deleted Node is kept.
	MaxAge *duration `yaml:"maxAge" jsonschema_extras:"default=720h"`
	// MaxRuns is how many such records are kept, the newest.
	MaxRuns *int `yaml:"maxRuns" jsonschema:"minimum=1,default=1000"`
}

type fileRetry struct {
	// MaxRetries is the number of attempts after the first one; 0 for none.
	MaxRetries *int `yaml:"maxRetries" jsonschema:"minimum=0,default=5"`
	// InitialDelay is the wait before the first retry.
	InitialDelay *duration `yaml:"initialDelay" jsonschema_extras:"default=10s"`
	// MaxDelay is the longest wait, including jitter. Only a Retry-After of the called service can
	// make it longer.
	MaxDelay *duration `yaml:"maxDelay" jsonschema_extras:"default=5m"`
	// BackoffFactor is by how much each wait is longer than the one before.
	BackoffFactor *float64 `yaml:"backoffFactor" jsonschema:"minimum=1,maximum=100,default=2"`
	// Jitter is the share by which each wait is longer at random.
	Jitter *float64 `yaml:"jitter" jsonschema:"minimum=0,maximum=1,default=0.2"`
}

type fileStep struct {
	// Name is the unique name of the step.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Plugin is what the step does.
	Plugin string `yaml:"plugin" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"`
	// Critical keeps the Node until the step has succeeded. The plugin has the default.
	Critical *bool `yaml:"critical"`
	// DependsOn names the steps that must be done first. A failed optional step counts as done.
	DependsOn []string `yaml:"dependsOn" jsonschema:"pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"`
	// Priority orders the steps that can start at the same time: a lower number first.
	Priority int `yaml:"priority" jsonschema:"default=0"`
	// Timeout limits one attempt. The plugin has the default.
	Timeout *duration `yaml:"timeout"`
	// TotalTimeout limits the step from its first attempt, with its retries and the waits between them.
	TotalTimeout *duration `yaml:"totalTimeout"`
	// Retry overrides fields of the retry of the config.
	Retry fileRetry `yaml:"retry"`
	// NodeSelector selects the Nodes that the step is for. For others, it is skipped.
	NodeSelector selector `yaml:"nodeSelector"`
	// Options are the options of the plugin.
	Options rawOptions `yaml:"options"`
}

// duration is a length of time such as "90s" or "2h".
type duration time.Duration

func (d *duration) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := time.ParseDuration(node.Value)
	if err != nil {
		return fault(node, "%q is not a duration such as 90s, 30m or 2h", node.Value)
	}
	*d = duration(parsed)
	return nil
}

// selector is a label selector as Kubernetes writes it.
type selector struct {
	MatchLabels      map[string]string `yaml:"matchLabels"`
	MatchExpressions []struct {
		Key      string                       `yaml:"key"`
		Operator metav1.LabelSelectorOperator `yaml:"operator"`
		Values   []string                     `yaml:"values"`
	} `yaml:"matchExpressions"`
}

// compile returns the selector that matches; an empty one matches everything.
func (s selector) compile() (labels.Selector, error) {
	label := s.label()
	return metav1.LabelSelectorAsSelector(&label)
}

func (s selector) label() metav1.LabelSelector {
	label := metav1.LabelSelector{MatchLabels: s.MatchLabels}
	for _, expression := range s.MatchExpressions {
		label.MatchExpressions = append(label.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: expression.Key, Operator: expression.Operator, Values: expression.Values,
		})
	}
	return label
}

// rawOptions are a step's options: JSON for the plugin, nodes for the lines.
type rawOptions struct {
	json   []byte
	values map[string]any
	node   *yaml.Node
}

func (o *rawOptions) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return fault(node, "options must be a mapping of names to values")
	}
	var values map[string]any
	if err := node.Decode(&values); err != nil {
		return err
	}
	data, err := json.Marshal(values)
	if err != nil {
		return fault(node, "options cannot be read: %v", err)
	}
	*o = rawOptions{json: data, values: values, node: node}
	return nil
}

// fault is an error that the YAML decoder collects before it continues.
func fault(node *yaml.Node, format string, arguments ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: ", node.Line) + fmt.Sprintf(format, arguments...)}}
}

// decode reads the document strictly and collects all faults of its form: unknown and repeated
// names, and values of a wrong type. It also returns the valid fields, so that their content is
// checked at the same time.
func decode(data []byte) (*file, *yaml.Node, Errors) {
	root := &yaml.Node{}
	if err := yaml.Unmarshal(data, root); err != nil {
		return nil, nil, Errors{syntaxError(data, err)}
	}
	if len(root.Content) > 0 && root.Content[0].Kind == yaml.SequenceNode {
		return nil, nil, Errors{{Line: root.Content[0].Line, Problem: "the config is a list, but must be a mapping with apiVersion, kind and steps; write a list of steps below steps"}}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	document := &file{}
	var faults Errors
	switch err := decoder.Decode(document); {
	case errors.Is(err, io.EOF):
		return nil, nil, Errors{{Line: 1, Problem: "the config is empty"}}
	case err != nil:
		var collected *yaml.TypeError
		if !errors.As(err, &collected) {
			return nil, nil, Errors{fromYAML(err.Error())}
		}
		repeated := false
		for _, text := range collected.Errors {
			faults = append(faults, fromYAML(text))
			repeated = repeated || yamlRepeated.MatchString(text)
		}
		if repeated { // The decoder leaves the whole mapping empty: checking it would report false errors.
			return nil, nil, faults.sorted()
		}
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		faults = append(faults, Error{Line: second.Line, Problem: "there is a second document, only one is read"})
	}
	return document, root, faults
}
