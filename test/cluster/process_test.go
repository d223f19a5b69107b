package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// shell returns a process that runs a script.
func shell(t *testing.T, script string, ready Ready) *Process {
	t.Helper()
	p := NewProcess(Command{Name: "script", Path: "/bin/sh", Args: []string{"-c", script}, Ready: ready, StopTimeout: 300 * time.Millisecond}, t.TempDir())
	t.Cleanup(func() { p.Kill() })
	return p
}

func TestProcessLife(t *testing.T) {
	p := shell(t, "echo up; exec sleep 1000", Ready{LogLine: "up"})
	for range 2 {
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(t.Context()); err == nil {
			t.Error("a running process was started once more")
		}
		if p.PID() == 0 || !p.Running() || p.Healthy(t.Context()) != nil {
			t.Errorf("after Start: process %d, running %v, %v", p.PID(), p.Running(), p.Healthy(t.Context()))
		}
		if err := p.Pause(); err != nil {
			t.Error(err)
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if p.PID() != 0 || p.Running() || p.Healthy(t.Context()) == nil {
			t.Errorf("after Stop: process %d, running %v", p.PID(), p.Running())
		}
	}
	if err := errors.Join(p.Stop(t.Context()), p.Kill()); err != nil {
		t.Errorf("ending a process that has ended: %v", err)
	}
	if p.Pause() == nil || p.Resume() == nil {
		t.Error("a process that has ended was paused or resumed")
	}
	if log, _ := os.ReadFile(p.Log()); string(log) != "up\nup\n" {
		t.Errorf("got log %q, want that of both starts", log)
	}
}

func TestProcessIgnoresSIGTERM(t *testing.T) {
	p := shell(t, `trap "" TERM; echo up; while :; do sleep 0.1; done`, Ready{LogLine: "up"})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err != nil || p.Running() {
		t.Errorf("after Stop: running %v, %v", p.Running(), err)
	}
	var exit *exec.ExitError
	if err := p.Wait(t.Context()); !errors.As(err, &exit) {
		t.Errorf("got %v, want an exit by a signal", err)
	}
}

func TestProcessEndsBeforeItIsReady(t *testing.T) {
	p := shell(t, `echo "cannot find my config" >&2; exit 3`, Ready{LogLine: "never"})
	err := p.Start(t.Context())
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "cannot find my config") {
		t.Errorf("got %v, want exit code 3 and the end of the log", err)
	}
}

func TestProcessIsNeverReady(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "still loading", http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	p := shell(t, "exec sleep 1000", Ready{URL: server.URL})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := p.Start(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "still loading") {
		t.Errorf("got %v, want a timeout that says what the URL answered", err)
	}
	if p.Running() {
		t.Error("the process is left running")
	}
}

// TestProcessDiesWithItsParent runs this test in another process that starts a child, and kills that process.
func TestProcessDiesWithItsParent(t *testing.T) {
	const variable = "TEST_START_CHILD_AND_HANG"
	if os.Getenv(variable) != "" {
		p := shell(t, "exec sleep 1000", Ready{})
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("child=%d\n", p.PID())
		<-t.Context().Done()
	}
	// The other process is killed before it can clean up, so it creates its files in this folder.
	folder := t.TempDir()
	parent := NewProcess(Command{
		Name: "parent", Path: os.Args[0], Args: []string{"-test.run=^" + t.Name() + "$"},
		Env: append(os.Environ(), variable+"=yes", "TMPDIR="+folder), Ready: Ready{LogLine: "child="},
	}, folder)
	if err := parent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	output, err := os.ReadFile(parent.Log())
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(output), "child=")
	child, err := strconv.Atoi(strings.TrimSpace(after))
	if err != nil {
		t.Fatal(err)
	}
	born, _ := processBirth(child)
	if adoptRun(child, born) == nil {
		t.Fatalf("the child %d does not run", child)
	}
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child has ended", func(context.Context) (bool, error) { return adoptRun(child, born) == nil, nil })
}
