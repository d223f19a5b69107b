package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Defaults of fields that a config omits.
const (
	DefaultNodes         = 50
	DefaultStepsPerNode  = 4
	DefaultEvictions     = 100
	DefaultMaxAge        = 30 * 24 * time.Hour
	DefaultMaxRuns       = 1000
	DefaultTimeout       = 5 * time.Minute
	DefaultMaxRetries    = 5
	DefaultInitialDelay  = 10 * time.Second
	DefaultMaxDelay      = 5 * time.Minute
	DefaultBackoffFactor = 2
	DefaultJitter        = 0.2
)

// Parse reads a config. The catalog lists the plugins; each step's plugin is built from it. The
// error is of type Errors and holds every fault, not only the first. With an error there is no
// Config.
func Parse(data []byte, catalog []cleanup.Descriptor) (*Config, error) {
	document, root, faults := decode(data)
	if document == nil {
		return nil, faults
	}
	p := &parser{root: root, faults: faults, catalog: map[string]cleanup.Descriptor{}, criticalUnknown: map[string]bool{}}
	for _, descriptor := range catalog {
		p.catalog[descriptor.Name] = descriptor
		p.known = append(p.known, descriptor.Name)
	}
	config := p.config(document)
	if len(p.faults) > 0 {
		return nil, p.faults.sorted()
	}
	config.Warnings = p.warnings.sorted()
	sum := sha256.Sum256(data)
	config.Hash = hex.EncodeToString(sum[:])[:12]
	return config, nil
}

type parser struct {
	root    *yaml.Node
	catalog map[string]cleanup.Descriptor
	known   []string
	// criticalUnknown are the steps with an unknown plugin, so it is unknown whether they are
	// critical.
	criticalUnknown map[string]bool
	faults          Errors
	warnings        Errors
}

func (p *parser) fault(path, format string, arguments ...any) {
	p.faults = append(p.faults, Error{Line: lineOf(p.root, path), Path: path, Problem: fmt.Sprintf(format, arguments...)})
}

func (p *parser) config(document *file) *Config {
	if document.APIVersion != APIVersion {
		p.fault("apiVersion", "must be %s, not %q", APIVersion, document.APIVersion)
	}
	if document.Kind != Kind {
		p.fault("kind", "must be %s, not %q", Kind, document.Kind)
	}
	config := &Config{
		DryRun: document.DryRun,
		Concurrency: Concurrency{
			Nodes:        p.atLeast("concurrency.nodes", document.Concurrency.Nodes, DefaultNodes, 1),
			StepsPerNode: p.atLeast("concurrency.stepsPerNode", document.Concurrency.StepsPerNode, DefaultStepsPerNode, 1),
			Evictions:    p.atLeast("concurrency.evictions", document.Concurrency.Evictions, DefaultEvictions, 1),
		},
		Deadline: p.deadline(document.Deadline),
		History: History{
			MaxAge:  p.positive("history.maxAge", document.History.MaxAge, DefaultMaxAge),
			MaxRuns: p.atLeast("history.maxRuns", document.History.MaxRuns, DefaultMaxRuns, 1),
		},
	}
	config.Guard = p.guard(document.Guard)
	config.Windows = p.windows(document.Windows)
	if document.Brake != nil {
		config.Brake = p.brake(*document.Brake)
	}
	config.NodeLabelSelector = document.NodeSelector.label()
	var err error
	if config.NodeSelector, err = document.NodeSelector.compile(); err != nil {
		p.fault("nodeSelector", "%v", err)
	}
	retry := p.retry("retry", document.Retry, Retry{
		MaxRetries: DefaultMaxRetries, InitialDelay: DefaultInitialDelay, MaxDelay: DefaultMaxDelay,
		BackoffFactor: DefaultBackoffFactor, Jitter: DefaultJitter,
	})
	if len(document.Steps) == 0 {
		p.fault("steps", "at least one step is required: without steps, each node would be released at once")
	}
	for i, step := range document.Steps {
		config.Steps = append(config.Steps, p.step(fmt.Sprintf("steps[%d]", i), step, retry))
	}
	p.graph(config.Steps)
	p.references(config.Steps, document.Steps)
	p.jobs(document.Jobs, config.Steps)
	p.beforeDrains(config.Steps)
	config.Notifications = p.notifications(document.Notifications)
	return config
}

func (p *parser) deadline(written fileDeadline) Deadline {
	deadline := Deadline{After: p.positive("deadline.after", written.After, 0), Action: written.Action}
	switch deadline.Action {
	case "":
		deadline.Action = Hold
	case Hold, Release:
	default:
		p.fault("deadline.action", "must be %s or %s, not %q", Hold, Release, written.Action)
	}
	return deadline
}

func (p *parser) retry(path string, written fileRetry, retry Retry) Retry {
	retry.MaxRetries = p.atLeast(path+".maxRetries", written.MaxRetries, retry.MaxRetries, 0)
	retry.InitialDelay = p.positive(path+".initialDelay", written.InitialDelay, retry.InitialDelay)
	retry.MaxDelay = p.positive(path+".maxDelay", written.MaxDelay, retry.MaxDelay)
	if written.MaxDelay == nil && retry.MaxDelay < retry.InitialDelay {
		retry.MaxDelay = retry.InitialDelay
	}
	if retry.MaxDelay < retry.InitialDelay {
		p.fault(path+".maxDelay", "is %s, shorter than initialDelay, %s", retry.MaxDelay, retry.InitialDelay)
	}
	if written.BackoffFactor != nil {
		if retry.BackoffFactor = *written.BackoffFactor; !(retry.BackoffFactor >= 1 && retry.BackoffFactor <= 100) {
			p.fault(path+".backoffFactor", "must be from 1 to 100, not %v", retry.BackoffFactor)
		}
	}
	if written.Jitter != nil {
		if retry.Jitter = *written.Jitter; !(retry.Jitter >= 0 && retry.Jitter <= 1) {
			p.fault(path+".jitter", "must be from 0 to 1, not %v", retry.Jitter)
		}
	}
	return retry
}

var stepName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func (p *parser) step(path string, written fileStep, retry Retry) Step {
	step := Step{
		Name:      written.Name,
		Plugin:    written.Plugin,
		DependsOn: written.DependsOn,
		Priority:  written.Priority,
		Options:   written.Options.json,
		Secrets:   secretsIn(written.Options.values),
		Retry:     p.retry(path+".retry", written.Retry, retry),
	}
	if !stepName.MatchString(step.Name) {
		p.fault(path+".name", "must be 1 to 63 lower case letters, digits and \"-\", not %q", step.Name)
	}
	var err error
	if step.NodeSelector, err = written.NodeSelector.compile(); err != nil {
		p.fault(path+".nodeSelector", "%v", err)
	}
	descriptor, known := p.catalog[written.Plugin]
	switch {
	case !known:
		p.criticalUnknown[step.Name] = written.Critical == nil
		p.unknownPlugin(path, written.Plugin, p.steps())
	case descriptor.Bind == nil:
		p.fault(path+".plugin", "plugin %s only notifies: use it in notifications; plugins of steps: %s", written.Plugin, strings.Join(p.steps(), ", "))
	default:
		var faults []error
		step.Bound, faults = descriptor.Bind(written.Options.json)
		p.optionFaults(path+".options", descriptor, written.Options, faults, func(options []byte) []error {
			_, faults := descriptor.Bind(options)
			return faults
		})
	}
	step.Critical = descriptor.Defaults.Critical
	if written.Critical != nil {
		step.Critical = *written.Critical
	}
	timeout := descriptor.Defaults.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	step.Timeout = p.positive(path+".timeout", written.Timeout, timeout)
	step.TotalTimeout = p.positive(path+".totalTimeout", written.TotalTimeout, 0)
	return step
}

// unknownPlugin reports a plugin that is not in the catalog.
func (p *parser) unknownPlugin(path, name string, known []string) {
	hint := suggestion(name, known)
	if hint == "" { // The list is long.
		hint = "; known plugins: " + strings.Join(known, ", ")
	}
	p.fault(path+".plugin", "unknown plugin %q%s", name, hint)
	p.faults[len(p.faults)-1].Unknown = true
}

// steps returns the names of the plugins that steps can use.
func (p *parser) steps() []string {
	return slices.DeleteFunc(slices.Clone(p.known), func(name string) bool { return p.catalog[name].Bind == nil })
}

// suggestion returns a question that names the known word closest to a misspelt one.
func suggestion(word string, known []string) string {
	if closest := Closest(word, known); closest != "" {
		return "; did you mean " + closest + "?"
	}
	return ""
}

func (p *parser) atLeast(path string, written *int, otherwise, least int) int {
	if written == nil {
		return otherwise
	}
	if *written < least {
		p.fault(path, "must be at least %d, not %d", least, *written)
	}
	return *written
}

func (p *parser) positive(path string, written *duration, otherwise time.Duration) time.Duration {
	if written == nil {
		return otherwise
	}
	if *written <= 0 {
		p.fault(path, "must be longer than 0, not %s", time.Duration(*written))
	}
	return time.Duration(*written)
}
