package cli_test

import (
	"bufio"
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// A script that sends a signal learns from the exit code that it arrived. That
// needs a process: a command that is called from Go gets no signals.
func TestSignalEndsAFollowedCommandWithItsCode(t *testing.T) {
	admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	binary := filepath.Join(t.TempDir(), "kubectl-nodecleanup")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../../cmd/kubectl-nodecleanup")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the plugin: %v\n%s", err, output)
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		command := exec.CommandContext(t.Context(), binary, "status", "-w", "--kubeconfig", shared.Kubeconfig())
		var errOut bytes.Buffer
		command.Stderr = &errOut
		output, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(output)
		if !lines.Scan() {
			t.Errorf("status -w ended without a line: %v\n%s", lines.Err(), errOut.String())
		}
		if err := command.Process.Signal(signal); err != nil {
			t.Error(err)
		}
		for lines.Scan() { // Until it ends.
		}
		var ended *exec.ExitError
		if err := command.Wait(); !errors.As(err, &ended) || ended.ExitCode() != 128+int(signal) {
			t.Errorf("after %s: %v, want exit code %d\n%s", signal, err, 128+int(signal), errOut.String())
		}
	}
}
