package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// bin holds the programs, as make builds them; only TestMain writes it.
var bin string

func TestMain(m *testing.M) {
	code, err := withPrograms(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withPrograms(m *testing.M) (code int, err error) {
	if bin, err = os.MkdirTemp("", "nodecleanup-programs-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	build := exec.Command("go", "build", "-o", bin, "./cmd/...", "./hack/demo")
	build.Dir = "../.."
	if output, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building the programs: %w\n%s", err, output)
	}
	return m.Run(), nil
}

// runDemo runs the demo as make does, answers its question with yes, and returns its output and exit code.
func runDemo(t *testing.T, command string, environment ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	demo := exec.CommandContext(ctx, bin+"/demo", command)
	demo.Dir = "../.."
	demo.Env = append(slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "KUBECONFIG=") || strings.HasPrefix(variable, "DEMO_KUBECONFIG=")
	}), environment...)
	demo.Stdin = strings.NewReader("y\n")
	var said bytes.Buffer
	demo.Stdout, demo.Stderr = &said, &said
	if err := demo.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	t.Logf("demo %s [exit %d]\n%s", command, demo.ProcessState.ExitCode(), said.String())
	return said.String(), demo.ProcessState.ExitCode()
}

func wantText(t *testing.T, where string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(where, text) {
			t.Errorf("missing %q in:\n%s", text, where)
		}
	}
}

// wantVerdict checks the end of the demo's output.
func wantVerdict(t *testing.T, said string) {
	t.Helper()
	_, verdict, found := strings.Cut(said, "[6/6] Was the node deleted after its cleanup?")
	if !found || strings.Contains(verdict, "  NO ") {
		t.Errorf("the node was not deleted after its cleanup: %s", verdict)
	}
	wantText(t, said, "the steps are done, the agent removed the finalizer: node demo-node-1 is deleted")
	wantText(t, verdict,
		"  yes  the node is deleted", "still exists, with state Succeeded", "  yes  3 of 3 steps are done", "  yes  the inventory was notified once (requests: 1)",
		"  yes  it has no pods", "  yes  all 6 pods run on the other nodes")
}

func TestDemo(t *testing.T) {
	cluster.UseOwnCache(t)
	t.Cleanup(func() {
		if _, err := cluster.Down(context.WithoutCancel(t.Context()), localName); err != nil {
			t.Errorf("ending the demo's cluster: %v", err)
		}
	})

	said, code := runDemo(t, "up")
	if code != 0 {
		t.Errorf("got exit code %d", code)
	}
	wantVerdict(t, said)
	wantText(t, said, "node demo-node-1 created; admission put the finalizer on it",
		"  yes  the last change, which removed the finalizer, was made by system:serviceaccount:", "make demo-down ends it.")

	dir, err := cluster.DirOf(localName)
	if err != nil {
		t.Fatal(err)
	}
	left, err := cluster.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if running := running(left); len(running) != 7 {
		t.Errorf("up to try things by hand is %q, want 5 of Kubernetes, the inventory and the agent", running)
	}
	said, code = runDemo(t, "down")
	if code != 0 || said != "The demo's cluster is ended.\n" {
		t.Errorf("ending it: got exit code %d and %q", code, said)
	}
	if running := running(left); len(running) > 0 {
		t.Errorf("still running: %q", running)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its directory still exists: %v", err)
	}
}

func running(c *cluster.Cluster) []string {
	var names []string
	for _, process := range c.Processes() {
		if process.Running() {
			names = append(names, process.Name())
		}
	}
	return names
}
