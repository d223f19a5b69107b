package printer

import (
	"maps"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/schema"
)

// Plugin is the view of one plugin, for users who write a step of it.
type Plugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Summary    string `json:"summary"`
	// Critical and TimeoutSeconds are the defaults of a step.
	Critical       bool            `json:"critical"`
	TimeoutSeconds int64           `json:"timeoutSeconds"`
	Abilities      []string        `json:"abilities,omitempty"`
	Options        []schema.Option `json:"options"`
	// Example is a step in YAML.
	Example string `json:"example,omitempty"`
	// Config is what the config must have besides the example, in YAML.
	Config string `json:"config,omitempty"`
	// Rules are the RBAC rules that a step with the default options needs.
	Rules []rbacv1.PolicyRule `json:"rules,omitempty"`
	// OptionalRules are the RBAC rules that such a step uses if the agent has them.
	OptionalRules []rbacv1.PolicyRule `json:"optionalRules,omitempty"`
	// NamespaceRules are those that the example needs in single namespaces, by namespace.
	NamespaceRules map[string][]rbacv1.PolicyRule `json:"namespaceRules,omitempty"`
	// Note says why something is unknown.
	Note string `json:"note,omitempty"`
}

// NewPlugin returns a view without content.
func NewPlugin(name string) *Plugin {
	return &Plugin{APIVersion: APIVersion, Kind: "Plugin", Name: name, Options: []schema.Option{}}
}

// Text writes each option with its description below it.
func (p *Plugin) Text(text *Text) {
	p.head(text)
	if len(p.Options) > 0 {
		text.Line("")
		text.Line("Options:")
	}
	for _, option := range p.Options {
		about := option.Name
		switch {
		case option.Required:
			about += " (" + option.Type + ", required)"
		case option.Default != "":
			about += " (" + option.Type + ", default " + option.Default + ")"
		case option.Type != "":
			about += " (" + option.Type + ")"
		}
		for i, line := range wrapped(about, 74) {
			text.Line("%s%s", strings.Repeat(" ", min(2+i*4, 6)), line)
		}
		for _, line := range wrapped(option.Description, 74) {
			text.Line("      %s", line)
		}
	}
	p.tail(text)
}

// Wide writes the options as a table.
func (p *Plugin) Wide(text *Text) {
	p.head(text)
	if len(p.Options) > 0 {
		text.Line("")
		rows := [][]Cell{Cells("OPTION", "TYPE", "DEFAULT", "REQUIRED", "DESCRIPTION")}
		for _, option := range p.Options {
			rows = append(rows, Cells(option.Name, OrDash(option.Type), OrDash(option.Default), yesNo(option.Required), OrDash(option.Description)))
		}
		text.Table(rows)
	}
	p.tail(text)
}

func (p *Plugin) head(text *Text) {
	text.Line("%s: %s", p.Name, p.Summary)
	text.Line("")
	critical := "not critical"
	if p.Critical {
		critical = "critical"
	}
	text.Line("Defaults    %s, timeout %s", critical, Age(time.Duration(p.TimeoutSeconds)*time.Second))
	if len(p.Abilities) > 0 {
		for i, line := range wrapped(joined(p.Abilities), 68) {
			heading := "Abilities"
			if i > 0 {
				heading = ""
			}
			text.Line("%-11s %s", heading, line)
		}
	}
	if p.Note != "" {
		text.Line("Note        %s", p.Note)
	}
}

func (p *Plugin) tail(text *Text) {
	for _, part := range []struct{ title, yaml string }{{"Example:", p.Example}, {"The config must also have:", p.Config}} {
		if part.yaml == "" {
			continue
		}
		text.Line("")
		text.Line("%s", part.title)
		for line := range strings.Lines(part.yaml) {
			text.Line("  %s", strings.TrimSuffix(line, "\n"))
		}
	}
	rules(text, "A step with the default options needs these rights:", p.Rules)
	rules(text, "It uses these rights if the agent has them, and install grants them:", p.OptionalRules)
	for _, namespace := range slices.Sorted(maps.Keys(p.NamespaceRules)) {
		rules(text, "The example needs these rights in namespace "+namespace+":", p.NamespaceRules[namespace])
	}
}

// rules writes RBAC rules below a title.
func rules(text *Text, title string, rules []rbacv1.PolicyRule) {
	if len(rules) == 0 {
		return
	}
	text.Line("")
	text.Line("%s", title)
	rows := [][]Cell{}
	for _, rule := range rules {
		resources := make([]string, len(rule.Resources))
		for i, resource := range rule.Resources {
			resources[i] = strings.TrimSuffix(resource+"."+rule.APIGroups[0], ".")
		}
		for _, name := range rule.ResourceNames {
			resources[len(resources)-1] += "/" + name
		}
		rows = append(rows, Cells("  "+joined(resources), joined(rule.Verbs)))
	}
	text.Table(rows)
}

// wrapped breaks a text into lines of at most so many characters, unless a word is longer.
func wrapped(text string, width int) []string {
	var lines []string
	for _, word := range strings.Fields(text) {
		if last := len(lines) - 1; last >= 0 && len(lines[last])+1+len(word) <= width {
			lines[last] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}

// Names returns the plugin.
func (p *Plugin) Names() []string { return []string{"plugin/" + p.Name} }
