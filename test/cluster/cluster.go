// Package cluster starts a real Kubernetes on this machine, from the one binary that hack/kubernetes makes: etcd and
// an API server, and where they are asked for the controller manager, the scheduler, and kwok, which plays kubelets.
// It needs Go, and neither root nor a container engine.
//
// In a test:
//
//	c := cluster.Start(t, cluster.Options{WithKwok: true})
//	client := kubernetes.NewForConfigOrDie(c.RESTConfigFor("jane", "developers"))
//
// Every component can be killed, paused and restarted; every request is in the audit log; RESTConfigFor gives any
// user's credentials. A cluster ends with the process that started it, unless it is detached, as by hack/cluster.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Options configure a cluster. The zero value is an API server with etcd in a temporary directory.
type Options struct {
	// Name of the cluster, in messages and kubeconfigs; empty is "test".
	Name string
	// Dir keeps everything of the cluster, also after Stop. It must hold no cluster yet. Empty takes a temporary
	// directory that Stop removes.
	Dir string
	// The components to start beside etcd and the API server. Without the controller manager, pods need no service
	// account.
	WithControllerManager, WithScheduler, WithKwok bool
	// APIServerFlags are additional flags of the API server, such as
	// --admission-control-config-file=….
	APIServerFlags []string
	// Output gets the progress, of the first build above all; nil is nowhere.
	Output io.Writer
	// Detached keeps the cluster running when this process ends; Open finds it again. It needs
	// Dir.
	Detached bool
}

// wanted returns the components to start besides etcd and the API server.
func (o Options) wanted() []string {
	var names []string
	for _, component := range []struct {
		name string
		with bool
	}{
		{ControllerManager, o.WithControllerManager}, {Scheduler, o.WithScheduler}, {Kwok, o.WithKwok},
	} {
		if component.with {
			names = append(names, component.name)
		}
	}
	return names
}

// Cluster is a Kubernetes that runs on loopback. Its methods can be called from several goroutines.
type Cluster struct {
	name      string
	layout    layout
	detached  bool
	temporary bool
	out       io.Writer
	ca        *authority
	reserved  *ports

	saving    sync.Mutex // of the state file; taken before mu
	mu        sync.Mutex
	processes []*Process // the components, in the order of their names, then added processes
}

// New starts a cluster and returns when the API server and all that was asked for is ready, typically after 5
// seconds; the first time on a machine, it builds Kubernetes before. The caller stops the cluster.
func New(ctx context.Context, options Options) (*Cluster, error) {
	if options.Output == nil {
		options.Output = io.Discard
	}
	binary, err := Build(ctx, options.Output)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	c, err := prepare(ctx, options, binary)
	if err != nil {
		return nil, fmt.Errorf("preparing the cluster: %w", err)
	}
	if err := c.start(ctx, options); err != nil {
		// ctx may be done already, which is no reason to leave processes behind.
		return nil, errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
	}
	fmt.Fprintf(c.out, "Cluster %s is ready after %.1fs\n", c.name, time.Since(began).Seconds())
	if c.detached {
		return c, c.reserved.release() // no process holds them later; the components do
	}
	return c, nil
}

// prepare creates a cluster without starting it.
func prepare(ctx context.Context, options Options, binary string) (*Cluster, error) {
	c := &Cluster{name: options.Name, detached: options.Detached, out: options.Output, reserved: &ports{}}
	if c.name == "" {
		c.name = "test"
	}
	c.layout.binary = binary
	var err error
	switch {
	case options.Dir != "":
		c.layout.dir, err = filepath.Abs(options.Dir)
	case options.Detached:
		err = errors.New("a detached cluster needs a directory")
	default:
		c.temporary = true
		c.layout.dir, err = os.MkdirTemp("", "nodecleanup-"+c.name+"-")
	}
	if err != nil {
		return nil, err
	}
	if c.layout.ports, err = newComponentPorts(c.reserved); err != nil {
		return nil, errors.Join(err, c.discard())
	}
	if c.ca, err = c.layout.prepare(ctx); err != nil {
		return nil, errors.Join(err, c.discard())
	}
	for _, command := range c.layout.commands(options) {
		c.processes = append(c.processes, c.newProcess(command))
	}
	return c, c.writeKubeconfigs()
}

// start starts the configured components. The controller manager and the scheduler end if the API
// server has no RBAC roles yet, so all components except etcd wait for these.
func (c *Cluster) start(ctx context.Context, options Options) error {
	for _, name := range []string{Etcd, APIServer} {
		if err := c.Component(name).Start(ctx); err != nil {
			return err
		}
	}
	if err := c.await(ctx, "/api/v1/namespaces/default"); err != nil {
		return err
	}
	wanted := options.wanted()
	errs := make([]error, len(wanted))
	var group sync.WaitGroup
	for i, name := range wanted {
		group.Go(func() { errs[i] = c.Component(name).Start(ctx) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil || !options.WithControllerManager {
		return err
	}
	return c.await(ctx, "/api/v1/namespaces/default/serviceaccounts/default")
}

// Stop ends all processes of the cluster, and removes a temporary directory. It ends added
// processes first, in reverse order and gracefully. Then it kills the components, because their
// data is not needed any more.
func (c *Cluster) Stop(ctx context.Context) error {
	var errs []error
	processes := c.Processes()
	for _, p := range slices.Backward(processes) {
		if !isComponent(p.Name()) {
			errs = append(errs, p.Stop(ctx))
		}
	}
	for _, p := range processes {
		if r := p.alive(); r != nil {
			errs = append(errs, r.signal(syscall.SIGKILL)) // all of them before waiting for each
		}
	}
	for _, p := range processes {
		errs = append(errs, p.Kill())
	}
	return errors.Join(append(errs, c.discard())...)
}

// discard releases the resources of a stopped cluster.
func (c *Cluster) discard() error {
	errs := []error{c.reserved.release()}
	if c.detached {
		errs = append(errs, removeState(c.layout.dir))
	}
	if c.temporary {
		errs = append(errs, os.RemoveAll(c.layout.dir))
	}
	return errors.Join(errs...)
}

// Name of the cluster.
func (c *Cluster) Name() string { return c.name }

// Dir holds everything of the cluster.
func (c *Cluster) Dir() string { return c.layout.dir }

// Logs is the directory with the log of every component, <name>.log.
func (c *Cluster) Logs() string { return c.layout.logs() }

// URL of the API server.
func (c *Cluster) URL() string { return c.layout.url() }

// EtcdURL is where etcd answers, over plain HTTP.
func (c *Cluster) EtcdURL() string { return "http://" + address(c.layout.ports.Etcd) }

// Kubectl is the path of a kubectl; it is compiled when it is called first.
func (c *Cluster) Kubectl() string {
	return filepath.Join(filepath.Dir(c.layout.binary), "kubectl")
}

// Component returns a component by name, running or not: one that Options did not ask for can be started later. It
// panics for any other name.
func (c *Cluster) Component(name string) *Process {
	if p := c.process(name); p != nil && isComponent(name) {
		return p
	}
	panic(fmt.Sprintf("no component %q in a cluster; there are %q", name, componentNames()))
}

// Processes returns the components, running or not, and the added processes.
func (c *Cluster) Processes() []*Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.processes)
}

// Add makes a further process part of the cluster, such as an agent: it logs beside the components and ends with
// the cluster. It is not started yet. The name must be new.
func (c *Cluster) Add(command Command) (*Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.processes {
		if p.Name() == command.Name {
			return nil, fmt.Errorf("adding a process to cluster %s: there is one named %q", c.name, command.Name)
		}
	}
	p := c.newProcess(command)
	c.processes = append(c.processes, p)
	return p, nil
}

func (c *Cluster) newProcess(command Command) *Process {
	p := NewProcess(command, c.layout.logs())
	p.detached = c.detached
	if c.detached {
		p.changed = c.saveState
	}
	return p
}

func (c *Cluster) process(name string) *Process {
	for _, p := range c.Processes() {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

func isComponent(name string) bool { return slices.Contains(componentNames(), name) }
