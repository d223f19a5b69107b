package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	defaultStartTimeout = 2 * time.Minute
	defaultStopTimeout  = 10 * time.Second
	pollInterval        = 50 * time.Millisecond
)

// Command describes the program of a Process, and when it counts as started.
type Command struct {
	// Name names the log file and the process in errors.
	Name string `json:"name"`
	// Path of the program, and its arguments without the program's name.
	Path string   `json:"path"`
	Args []string `json:"args,omitempty"`
	// Env is the whole environment, as in exec.Cmd: nil means the environment of this process. It
	// can hold secrets, so no state file records it.
	Env []string `json:"-"`
	// Dir is the working directory; empty means the directory of this process.
	Dir string `json:"dir,omitempty"`
	// Ready is the condition that Start waits for; the zero value means none.
	Ready Ready `json:"ready,omitzero"`
	// StopTimeout is the time between SIGTERM and SIGKILL; 0 takes 10 seconds.
	StopTimeout time.Duration `json:"stopTimeout,omitempty"`
}

// Process is a program that can be started, stopped, killed, paused and started again. It runs in
// its own process group, which gets the signals, and appends stdout and stderr to one log file. It
// does not outlive this process, unless it is detached. Its methods can be called from several
// goroutines.
type Process struct {
	command  Command
	log      string
	detached bool
	// changed is notified of every start and end; nil for a process that belongs to no cluster.
	changed func() error

	mu      sync.Mutex
	current *run
}

// NewProcess returns a process that is not started yet. It logs to logs/<name>.log and creates that folder.
func NewProcess(command Command, logs string) *Process {
	return &Process{command: command, log: filepath.Join(logs, command.Name+".log")}
}

// Name returns the name of the process.
func (p *Process) Name() string { return p.command.Name }

// Log returns the path of the log file, which holds the output of every start.
func (p *Process) Log() string { return p.log }

// PID returns the process ID, or 0 if the process is not running.
func (p *Process) PID() int {
	if r := p.alive(); r != nil {
		return r.pid
	}
	return 0
}

// Running reports whether the process was started and has not ended. A paused process is running.
func (p *Process) Running() bool { return p.alive() != nil }

// Start starts the process and waits until it is ready, for 2 minutes at most. If it does not become ready,
// Start kills it, and the error contains the last lines of its log. Starting a running process is an error.
func (p *Process) Start(ctx context.Context) error {
	r, logged, err := p.launch()
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.Name(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, defaultStartTimeout)
	defer cancel()
	if err := p.awaitReady(ctx, r, logged); err != nil {
		return errors.Join(fmt.Errorf("starting %s: %w%s", p.Name(), err, logTail(p.log, logged)), p.Kill())
	}
	return nil
}

// launch starts the program. It also returns the previous size of the log, where the output of
// this start begins.
func (p *Process) launch() (*run, int64, error) {
	log, logged, err := openLog(p.log)
	if err != nil {
		return nil, 0, err
	}
	defer log.Close()
	r, err := p.run(log)
	if err != nil {
		return nil, 0, err
	}
	if err := p.notify(); err != nil {
		return nil, 0, errors.Join(err, r.signal(syscall.SIGKILL))
	}
	return r, logged, nil
}

func (p *Process) run(log *os.File) (*run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && p.current.alive() {
		return nil, fmt.Errorf("it runs already, as process %d", p.current.pid)
	}
	cmd := exec.Command(p.command.Path, p.command.Args...)
	cmd.Env, cmd.Dir = p.command.Env, p.command.Dir
	cmd.Stdout, cmd.Stderr = log, log
	r, err := startRun(cmd, p.detached)
	if err != nil {
		return nil, err
	}
	p.current = r
	return r, nil
}

// Stop sends SIGTERM and waits for the process to exit. After StopTimeout, or when ctx ends, it sends
// SIGKILL. It returns nil if the process is not running.
func (p *Process) Stop(ctx context.Context) error {
	r := p.alive()
	if r == nil {
		return nil
	}
	limit := p.command.StopTimeout
	if limit == 0 {
		limit = defaultStopTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// A paused process sees SIGTERM only when it continues.
	if err := errors.Join(r.signal(syscall.SIGTERM), r.signal(syscall.SIGCONT)); err != nil {
		return fmt.Errorf("stopping %s: %w", p.Name(), err)
	}
	if r.wait(ctx) {
		return p.notify()
	}
	return p.Kill()
}

// Kill sends SIGKILL, like a crash, and waits for the process to exit. It returns nil if the process is not
// running.
func (p *Process) Kill() error {
	r := p.alive()
	if r == nil {
		return nil
	}
	if err := r.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing %s: %w", p.Name(), err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), defaultStopTimeout)
	defer cancel()
	if !r.wait(ctx) {
		return fmt.Errorf("killing %s: process %d still exists after %s", p.Name(), r.pid, defaultStopTimeout)
	}
	return p.notify()
}

// Restart stops the process and starts it again with the same command.
func (p *Process) Restart(ctx context.Context) error {
	if err := p.Stop(ctx); err != nil {
		return err
	}
	return p.Start(ctx)
}

// Pause freezes the process with SIGSTOP: its connections stay open without responses, as in a network
// partition.
func (p *Process) Pause() error { return p.send("pausing", syscall.SIGSTOP) }

// Resume continues a paused process.
func (p *Process) Resume() error { return p.send("resuming", syscall.SIGCONT) }

// Wait waits until the process exits and returns its error, an *exec.ExitError if the exit code is not 0, or
// the error of ctx. The exit code of a process that an earlier command started is unknown and counts as 0.
func (p *Process) Wait(ctx context.Context) error {
	p.mu.Lock()
	r := p.current
	p.mu.Unlock()
	if r == nil {
		return fmt.Errorf("waiting for %s: it was never started", p.Name())
	}
	if !r.wait(ctx) {
		return fmt.Errorf("waiting for %s: %w", p.Name(), context.Cause(ctx))
	}
	return r.err
}

func (p *Process) send(doing string, signal syscall.Signal) error {
	r := p.alive()
	if r == nil {
		return fmt.Errorf("%s %s: it does not run", doing, p.Name())
	}
	if err := r.signal(signal); err != nil {
		return fmt.Errorf("%s %s: %w", doing, p.Name(), err)
	}
	return nil
}

// alive returns the current run, or nil when the process does not run.
func (p *Process) alive() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil || !p.current.alive() {
		return nil
	}
	return p.current
}

func (p *Process) notify() error {
	if p.changed == nil {
		return nil
	}
	return p.changed()
}
