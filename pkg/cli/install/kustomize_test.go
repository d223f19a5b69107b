package install_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// kubectlThatHangs puts a kubectl on the PATH that starts a process which holds its output.
// It fails in the end, so that an install which waits for it is not taken for one that stops.
func kubectlThatHangs(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the kubectl of this test is a shell script")
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "kubectl"), []byte("#!/bin/sh\nsleep 20\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestInstallOfAKustomizationEndsAtTheTimeout(t *testing.T) {
	kubectlThatHangs(t)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte("resources: [nodecleanup-base]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}
	began := time.Now()
	err := cli.Execute(t.Context(), streams, []string{"install", "--dry-run=client", "-k", folder, "--timeout=200ms"})
	if code := exit.Code(t.Context(), err); code != exit.TimedOut {
		t.Errorf("exit code %d, want %d: %v", code, exit.TimedOut, err)
	}
	if err == nil || !strings.Contains(err.Error(), "running kubectl kustomize: context deadline exceeded") {
		t.Errorf("the error is %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it waited %s for what kubectl had started", took)
	}
	if out.Len() > 0 {
		t.Errorf("it printed %q", out.String())
	}
}
