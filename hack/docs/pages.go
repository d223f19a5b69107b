package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
)

const generated = "<!-- Made by `make docs` from the commands themselves. Change these. -->\n\n"

// pages writes one Markdown page for each command, and removes those of commands
// that are no more.
func pages(root *cobra.Command, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(folder, "*.md"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	var index bytes.Buffer
	index.WriteString(generated + "# The command line\n\n")
	index.WriteString("Exit codes, whatever `-o` says: 0 fine; 1 error; 2 wrong usage; 3 unhealthy, or a check failed;\n" +
		"4 plan blocked; 5 declined; 124 timed out; 128 and the number of a signal.\n\n" +
		"Output formats (`-o`), of every command that prints a view: table, wide, short, json, yaml, name. A view that has\n" +
		"no wide or short form of its own is printed as the table.\n\n" +
		"Every command takes [kubectl's flags](nodecleanup-options.md) for the cluster and the user.\n\n| command | |\n|---|---|\n")
	var failures []error
	each(root, func(cmd *cobra.Command) {
		name := strings.ReplaceAll(strings.TrimPrefix(cmd.CommandPath(), "kubectl "), " ", "-") + ".md"
		if cmd != root {
			fmt.Fprintf(&index, "| [%s](%s) | %s |\n", strings.TrimPrefix(cmd.CommandPath(), "kubectl nodecleanup "), name, cmd.Short)
		}
		content := page(cmd)
		if cmd.Name() == "options" {
			content = fmt.Appendf(content, "\n## Flags of every command, all of them\n\n```\n%s```\n", cli.AllFlags(root))
		}
		failures = append(failures, os.WriteFile(filepath.Join(folder, name), content, 0o644))
	})
	failures = append(failures, os.WriteFile(filepath.Join(folder, "README.md"), index.Bytes(), 0o644))
	return errors.Join(failures...)
}

// each visits every command that help shows, parents first.
func each(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			each(child, visit)
		}
	}
}

func page(cmd *cobra.Command) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s# %s\n\n%s\n", generated, cmd.CommandPath(), description(cmd))
	block := func(title, content string) {
		if content = strings.Trim(content, "\n"); content != "" {
			fmt.Fprintf(&text, "\n## %s\n\n```\n%s\n```\n", title, content)
		}
	}
	block("Usage", cmd.UseLine())
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&text, "\nAlso: `%s`\n", strings.Join(cmd.Aliases, "`, `"))
	}
	block("Examples", cmd.Example)
	block("Flags", cmd.NonInheritedFlags().FlagUsages())
	block("Flags of every command", cmd.InheritedFlags().FlagUsages())
	return text.Bytes()
}

func description(cmd *cobra.Command) string {
	if cmd.Long != "" {
		return cmd.Long
	}
	return cmd.Short + "."
}
