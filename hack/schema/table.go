package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/schema"
)

// header begins the table of options in the README of a plugin.
const header = "| option | type | default | meaning |\n|---|---|---|---|\n"

// withTable returns a README with the table of the options in a schema.
func withTable(readme, text []byte) ([]byte, error) {
	before, rest, found := strings.Cut(string(readme), header)
	if !found {
		return nil, errors.New("there is no table that begins with " + strings.TrimSpace(header))
	}
	options, err := schema.Options(text)
	if err != nil {
		return nil, err
	}
	var table strings.Builder
	table.WriteString(header)
	for _, option := range options {
		value := "none"
		switch {
		case option.Required:
			value = "required"
		case option.Default != "":
			value = "`" + option.Default + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", option.Name, cell(typeOf(option)), value, cell(option.Description))
	}
	for strings.HasPrefix(rest, "|") {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	return []byte(before + table.String() + rest), nil
}

// typeOf returns the type, with a link to what templates can contain.
func typeOf(option schema.Option) string {
	return strings.Replace(option.Type, "template", "[template](../../../docs/config.md#templates)", 1)
}

// cell escapes what would end a cell.
func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }
