package cluster

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// run is one execution of a process: a child of ours, or a detached process of an earlier command.
type run struct {
	pid int
	// born distinguishes this process from a later one with the same id; see processBirth.
	born string
	// exited is closed when our child has ended, with err set before; nil for a process that is not our child.
	exited chan struct{}
	err    error
}

// startRun starts cmd in its own process group. Unless it is detached, it dies with this process.
func startRun(cmd *exec.Cmd, detached bool) (*run, error) {
	r := &run{exited: make(chan struct{})}
	failed := make(chan error, 1)
	go func() {
		// Linux sends the parent-death signal when the thread ends that started the child, not the process: this
		// goroutine keeps its thread until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		setProcessAttributes(cmd, detached)
		if err := cmd.Start(); err != nil {
			failed <- err
			return
		}
		r.pid = cmd.Process.Pid
		r.born, _ = processBirth(r.pid)
		var release func()
		if !detached {
			release = killWithParent(r.pid)
		}
		failed <- nil
		r.err = cmd.Wait()
		if release != nil {
			release()
		}
		close(r.exited)
	}()
	if err := <-failed; err != nil {
		return nil, err
	}
	return r, nil
}

// adoptRun returns the process with that id, or nil when it ended and the id is free or belongs to another process.
func adoptRun(pid int, born string) *run {
	r := &run{pid: pid, born: born}
	if pid <= 0 || born == "" || !r.alive() {
		return nil
	}
	return r
}

func (r *run) alive() bool {
	if r.exited == nil {
		born, ok := processBirth(r.pid)
		return ok && born == r.born
	}
	select {
	case <-r.exited:
		return false
	default:
		return true
	}
}

// wait returns true when the process has ended, and false when ctx did before.
func (r *run) wait(ctx context.Context) bool {
	if r.exited != nil {
		select {
		case <-r.exited:
			return true
		case <-ctx.Done():
			return false
		}
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for r.alive() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// signal sends to the whole process group. A process that has ended in the meantime is fine.
func (r *run) signal(signal syscall.Signal) error {
	err := syscall.Kill(-r.pid, signal)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
