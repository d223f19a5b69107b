package config

import (
	"fmt"
	"regexp"
	"strings"
)

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
		found, expected := yamlKind(match[1]), goKind(match[3])
		if match[2] != "" {
			found = fmt.Sprintf("%q is %s", match[2], found)
		} else {
			found = "this is " + found
		}
		result.Problem = fmt.Sprintf("%s, but %s is expected", found, expected)
	}
	return result
}

// yamlKind describes a value by its tag.
func yamlKind(tag string) string {
	switch tag {
	case "seq":
		return "a list"
	case "map":
		return "a mapping"
	case "int", "float":
		return "a number"
	case "bool":
		return "a boolean"
	case "str":
		return "a string"
	}
	return tag
}

// goKind describes the values of a Go type.
func goKind(name string) string {
	switch {
	case strings.HasPrefix(name, "[]"):
		return "a list"
	case strings.HasPrefix(name, "int") || strings.HasPrefix(name, "float"):
		return "a number"
	case name == "bool":
		return "a boolean"
	case name == "string":
		return "a string"
	}
	return "a mapping"
}
