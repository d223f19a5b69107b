package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manPages writes kubectl-nodecleanup.1 and one page for each command below it.
// There is no date in them: the same commands give the same bytes.
func manPages(root *cobra.Command, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var failures []error
	each(root, func(cmd *cobra.Command) {
		failures = append(failures, os.WriteFile(filepath.Join(folder, manName(cmd)+".1"), manPage(cmd), 0o644))
	})
	return errors.Join(failures...)
}

func manName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func manPage(cmd *cobra.Command) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, ".TH %q 1 \"\" nodecleanup \"nodecleanup manual\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(manName(cmd)), roff(manName(cmd)), roff(cmd.Short))
	fmt.Fprintf(&text, ".SH SYNOPSIS\n.B %s\n", roff(cmd.UseLine()))
	verbatim(&text, "DESCRIPTION", description(cmd))
	verbatim(&text, "EXAMPLES", cmd.Example)
	flags(&text, "OPTIONS", cmd.NonInheritedFlags())
	flags(&text, "OPTIONS OF EVERY COMMAND", cmd.InheritedFlags())
	text.WriteString(".SH EXIT STATUS\n")
	for _, one := range exitCodes {
		fmt.Fprintf(&text, ".TP\n.B %s\n%s\n", one.code, one.meaning)
	}
	var also []string
	cmd.VisitParents(func(parent *cobra.Command) { also = append(also, manName(parent)) })
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			also = append(also, manName(child))
		}
	}
	if len(also) > 0 {
		fmt.Fprintf(&text, ".SH SEE ALSO\n%s(1)\n", roff(strings.Join(also, "(1), ")))
	}
	return text.Bytes()
}

func verbatim(text *bytes.Buffer, title, content string) {
	if content = strings.Trim(content, "\n"); content != "" {
		fmt.Fprintf(text, ".SH %s\n.nf\n%s\n.fi\n", title, roff(content))
	}
}

func flags(text *bytes.Buffer, title string, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(text, ".SH %s\n", title)
	set.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden {
			return
		}
		short := ""
		if flag.Shorthand != "" {
			short = "-" + flag.Shorthand + ", "
		}
		fmt.Fprintf(text, ".TP\n.B %s\n%s\n", roff(short+"--"+flag.Name), roff(flag.Usage))
	})
}

// roff escapes what troff would take for its own.
func roff(text string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
