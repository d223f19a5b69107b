package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Error is one fault in a config.
type Error struct {
	// Line in the file, from 1; 0 if the line is unknown.
	Line int
	// Near: the fault is in this line or in a later one.
	Near bool
	// Path such as "steps[2].plugin", empty if the path is unknown.
	Path string
	// Problem in plain words.
	Problem string
	// Unknown: the problem is a plugin that is not in the catalog.
	Unknown bool
}

// Error returns line, path and problem in one line.
func (e Error) Error() string {
	text := e.Problem
	if e.Path != "" {
		text = e.Path + ": " + text
	}
	if e.Line > 0 {
		text = fmt.Sprintf("line %d: %s", e.Line, text)
		if e.Near {
			text = "near " + text
		}
	}
	return text
}

// Errors are all faults of a config, in the order of its lines.
type Errors []Error

// Error returns a line for each fault.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// OnlyUnknown reports whether the only faults are plugins that are not in the catalog.
func (e Errors) OnlyUnknown() bool {
	return !slices.ContainsFunc(e, func(one Error) bool { return !one.Unknown })
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b Error) int { return cmp.Compare(a.Line, b.Line) })
	return e
}

var pathPart = regexp.MustCompile(`[^.\[\]]+`)

// lineOf returns the line of a path such as "steps[2].plugin" below a node, or the line of the
// innermost part that exists.
func lineOf(node *yaml.Node, path string) int {
	if node == nil {
		return 0
	}
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	line := node.Line
	for _, part := range pathPart.FindAllString(path, -1) {
		next := child(node, part)
		if next == nil {
			return line
		}
		node, line = next, next.Line
	}
	return line
}

func child(node *yaml.Node, part string) *yaml.Node {
	switch node.Kind {
	case yaml.SequenceNode:
		if index, err := strconv.Atoi(part); err == nil && index >= 0 && index < len(node.Content) {
			return node.Content[index]
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == part {
				return node.Content[i+1]
			}
		}
	case yaml.AliasNode:
		return child(node.Alias, part)
	}
	return nil
}
