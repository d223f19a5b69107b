//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// helmProgram is the path of Helm.
var helmProgram string

// run runs a command of nodecleanup as an administrator and wants an exit code.
func run(t *testing.T, code int, arguments ...string) string {
	t.Helper()
	var out bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
	err := cli.Execute(t.Context(), streams, append(arguments, "--kubeconfig", shared.Kubeconfig()))
	got := exit.Code(t.Context(), err)
	t.Logf("kubectl nodecleanup %s [exit %d]\n%s", strings.Join(arguments, " "), got, out.String())
	if got != code {
		t.Fatalf("exit code %d, want %d", got, code)
	}
	return out.String()
}

// helm and kubectl run that program as an administrator and want it to succeed.
func helm(t *testing.T, arguments ...string) string {
	t.Helper()
	return succeeded(t, program(t, "", helmProgram, arguments...))
}

func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	return succeeded(t, program(t, "", shared.Kubectl(), arguments...))
}

// ran is the result of a program.
type ran struct {
	said string
	err  error
}

func succeeded(t *testing.T, ran ran) string {
	t.Helper()
	if ran.err != nil {
		t.Fatal(ran.err)
	}
	return ran.said
}

// program runs one in a folder, with the cluster's kubeconfig.
func program(t *testing.T, folder, path string, arguments ...string) ran {
	t.Helper()
	command := exec.CommandContext(t.Context(), path, arguments...)
	command.Dir = folder
	home := t.TempDir()
	command.Env = append(os.Environ(), "KUBECONFIG="+shared.Kubeconfig(),
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	said, err := command.CombinedOutput()
	t.Logf("%s %s [%v]\n%s", filepath.Base(path), strings.Join(arguments, " "), err, said)
	return ran{string(said), err}
}

// write writes a file for one test and returns its path, in which no part of the test's
// name is: Helm takes a comma for the end of it.
func write(t *testing.T, name, text string) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func eventually(t *testing.T, what string, holds func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, testTimeout, true, holds); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}
