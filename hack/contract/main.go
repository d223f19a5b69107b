// Command contract checks that the packages that plugins outside this repository use stay compatible.
//
// hack/contract/v1.txt lists their exported API, one declaration per line: a function with its signature, a
// field of a struct, an interface with all of its methods. A line that is missing or different breaks
// plugins that compile today. `make contract` adds new lines.
//
// Usage: contract [-write] FILE
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
)

// packages are those of the contract, see "Compatibility" in docs/plugins.md.
var packages = []string{
	"github.com/nodecleanup/kubectl-nodecleanup/agent/program",
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup",
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins",
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient",
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest",
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin",
}

func main() {
	write := flag.Bool("write", false, "Write FILE instead of comparing with it. Fails if a line of FILE no longer holds")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: contract [-write] FILE")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *write); err != nil {
		fmt.Fprintln(os.Stderr, "contract:", err)
		os.Exit(1)
	}
}

func run(file string, write bool) error {
	stored, err := os.ReadFile(file)
	if err != nil && !(write && os.IsNotExist(err)) {
		return err
	}
	now, err := list(packages)
	if err != nil {
		return err
	}
	broken, added := compare(strings.Split(strings.TrimSpace(string(stored)), "\n"), now)
	switch {
	case len(broken) > 0 && len(stored) > 0:
		return fmt.Errorf("plugins that compile today would break, because these lines of %s no longer hold:\n  %s\nKeep them. For an intended break, raise the version of the contract, delete the file, and run make contract",
			file, strings.Join(broken, "\n  "))
	case write:
		return os.WriteFile(file, append(bytes.TrimSpace([]byte(strings.Join(now, "\n"))), '\n'), 0o666)
	case len(added) > 0:
		return fmt.Errorf("these exported declarations are not in the contract; run make contract:\n  %s", strings.Join(added, "\n  "))
	}
	return nil
}

// compare returns the stored lines that are missing now, and the new lines.
func compare(stored, now []string) (broken, added []string) {
	for _, line := range stored {
		if !slices.Contains(now, line) {
			broken = append(broken, line)
		}
	}
	for _, line := range now {
		if !slices.Contains(stored, line) {
			added = append(added, line)
		}
	}
	return broken, added
}
