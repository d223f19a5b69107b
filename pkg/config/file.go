package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// file is the document as written. A nil pointer means that the field is absent.
type file struct {
	APIVersion   string          `yaml:"apiVersion"`
	Kind         string          `yaml:"kind"`
	DryRun       bool            `yaml:"dryRun"`
	NodeSelector selector        `yaml:"nodeSelector"`
	Concurrency  fileConcurrency `yaml:"concurrency"`
	Deadline     fileDeadline    `yaml:"deadline"`
	History      fileHistory     `yaml:"history"`
	Windows      []fileWindow    `yaml:"windows"`
	Brake        *fileBrake      `yaml:"brake"`
	Guard        fileGuard       `yaml:"guard"`
	Retry        fileRetry       `yaml:"retry"`
	Steps        []fileStep      `yaml:"steps"`
}

type fileConcurrency struct {
	Nodes        *int `yaml:"nodes"`
	StepsPerNode *int `yaml:"stepsPerNode"`
	Evictions    *int `yaml:"evictions"`
}

type fileDeadline struct {
	After  *duration      `yaml:"after"`
	Action DeadlineAction `yaml:"action"`
}

type fileHistory struct {
	MaxAge  *duration `yaml:"maxAge"`
	MaxRuns *int      `yaml:"maxRuns"`
}

type fileRetry struct {
	MaxRetries    *int      `yaml:"maxRetries"`
	InitialDelay  *duration `yaml:"initialDelay"`
	MaxDelay      *duration `yaml:"maxDelay"`
	BackoffFactor *float64  `yaml:"backoffFactor"`
	Jitter        *float64  `yaml:"jitter"`
}

type fileStep struct {
	Name         string     `yaml:"name"`
	Plugin       string     `yaml:"plugin"`
	Critical     *bool      `yaml:"critical"`
	DependsOn    []string   `yaml:"dependsOn"`
	Priority     int        `yaml:"priority"`
	Timeout      *duration  `yaml:"timeout"`
	TotalTimeout *duration  `yaml:"totalTimeout"`
	Retry        fileRetry  `yaml:"retry"`
	NodeSelector selector   `yaml:"nodeSelector"`
	Options      rawOptions `yaml:"options"`
}

// duration is a length of time such as "90s" or "2h".
type duration time.Duration

func (d *duration) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := time.ParseDuration(node.Value)
	if err != nil {
		return fault(node, "%q is no duration such as 90s, 30m or 2h", node.Value)
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
		return nil, nil, Errors{fromYAML(err.Error())}
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

var (
	yamlLine     = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	yamlRepeated = regexp.MustCompile(`mapping key .* already defined at line \d+$`)
	yamlUnknown  = regexp.MustCompile(`^field (\S+) not found in type \S+$`)
	yamlType     = regexp.MustCompile("^cannot unmarshal !!(\\w+) (?:`(.*)` )?into (\\S+)$")
)

// fromYAML turns an error text of the YAML decoder into an Error.
func fromYAML(text string) Error {
	result := Error{Problem: text}
	if match := yamlLine.FindStringSubmatch(text); match != nil {
		fmt.Sscan(match[1], &result.Line)
		result.Problem = match[2]
	}
	if match := yamlUnknown.FindStringSubmatch(result.Problem); match != nil {
		result.Problem = fmt.Sprintf("unknown field %q", match[1])
	}
	if match := yamlType.FindStringSubmatch(result.Problem); match != nil {
		result.Problem = fmt.Sprintf("%q is a %s where %s is wanted", match[2], match[1], match[3])
	}
	return result
}
