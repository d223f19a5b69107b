package cli_test

import (
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestSomebodyWithoutRights(t *testing.T) {
	nobody := kubeconfigFor(t, "nobody")
	for _, test := range []struct {
		name      string
		arguments []string
		names     []string
	}{
		{"install", []string{"install"}, []string{"reading namespace/nodecleanup-system", `cannot get resource "namespaces"`, "cluster administrator"}},
		{"status", []string{"status"}, []string{"reading deployment nodecleanup-system/nodecleanup-agent", `User "nobody"`, "ask a cluster administrator"}},
		{"bypass", []string{"bypass", "n", "--reason", "r", "--yes"}, []string{"reading node n", `cannot get resource "nodes"`, "ask a cluster administrator"}},
		{"uninstall", []string{"uninstall", "--yes"}, []string{"looking at what is installed", "forbidden", "ask a cluster administrator"}},
		{"version", []string{"version"}, []string{"asking for the agent's version", "forbidden"}},
		{"as somebody else", []string{"status", "--as", "root"}, []string{"cannot impersonate"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			result := want(t, exit.Failure, run(t, nobody, test.arguments...))
			wantText(t, result.errOut, append(test.names, "Next:")...)
		})
	}
}
