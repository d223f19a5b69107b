package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const stateFile = "state.json"

// state holds the facts about a detached cluster that a later command needs.
type state struct {
	Name       string         `json:"name"`
	Binary     string         `json:"binary"`
	Kubeconfig string         `json:"kubeconfig"`
	Ports      componentPorts `json:"ports"`
	Processes  []processState `json:"processes"`
}

type processState struct {
	Command Command `json:"command"`
	// PID and Born identify the process; 0 and empty when it does not run.
	PID  int    `json:"pid,omitempty"`
	Born string `json:"born,omitempty"`
}

// Open returns the detached cluster of that directory, whatever of it still runs: processes that ended, or a machine
// that was started again, show as components that do not run. The error is fs.ErrNotExist when there is no cluster.
func Open(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, fmt.Errorf("opening the cluster: %w", err)
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("opening the cluster: reading %s: %w", filepath.Join(dir, stateFile), err)
	}
	c := &Cluster{
		name: s.Name, layout: layout{binary: s.Binary, dir: dir, ports: s.Ports}, detached: true, out: io.Discard, reserved: &ports{},
	}
	if c.ca, err = loadAuthority(filepath.Join(dir, "pki"), "ca"); err != nil {
		return nil, fmt.Errorf("opening the cluster: %w", err)
	}
	for _, saved := range s.Processes {
		if isComponent(saved.Command.Name) {
			saved.Command.Env = c.layout.environment()
		}
		p := c.newProcess(saved.Command)
		p.current = adoptRun(saved.PID, saved.Born)
		c.processes = append(c.processes, p)
	}
	return c, nil
}

// saveState stores the running processes, at every start and end of a process.
func (c *Cluster) saveState() error {
	c.saving.Lock()
	defer c.saving.Unlock()
	s := state{Name: c.name, Binary: c.layout.binary, Kubeconfig: c.Kubeconfig(), Ports: c.layout.ports}
	for _, p := range c.Processes() {
		saved := processState{Command: p.command}
		if r := p.alive(); r != nil {
			saved.PID, saved.Born = r.pid, r.born
		}
		s.Processes = append(s.Processes, saved)
	}
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(c.layout.dir, stateFile)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func removeState(dir string) error {
	if err := os.Remove(filepath.Join(dir, stateFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
