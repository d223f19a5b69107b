package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

//go:embed config.yaml
var configTemplate string

func configFor(inventory string) string {
	return strings.ReplaceAll(configTemplate, "${INVENTORY}", inventory)
}

// say prints a line of the demo.
func say(format string, arguments ...any) { fmt.Printf(format+"\n", arguments...) }

func headline(number int, text string) { fmt.Printf("\n[%d/6] %s\n", number, text) }

// agentUser is the agent's service account.
const agentUser = "system:serviceaccount:" + api.Namespace + ":" + api.Agent

// demo holds the state of one demo.
type demo struct {
	*target
	client    kubernetes.Interface
	inventory *cluster.Process
	// bin is the folder of the demo's programs.
	bin string
	// made lists what removeFromCluster removes.
	made made
	// processes are the processes to stop after the demo on the user's own cluster.
	processes []*cluster.Process
	began     time.Time
	// replaced holds the names of the pods that replaced an evicted pod.
	replaced map[string]bool
	timeout  time.Duration
}

// up runs the demo. It returns nil only if the cleanup completed before the Node was deleted.
func up(ctx context.Context) (err error) {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the folder of this program: %w", err)
	}
	headline(1, "A cluster")
	target, err := chooseTarget(ctx)
	if err != nil {
		return err
	}
	d := &demo{target: target, bin: filepath.Dir(program), replaced: map[string]bool{}, timeout: stepTimeout}
	if d.client, err = kubernetes.NewForConfig(target.rest); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if d.local == nil {
		defer func() { err = errors.Join(err, d.removeFromCluster(context.WithoutCancel(ctx))) }()
	}
	ports, err := freePorts(5)
	if err != nil {
		return err
	}
	webhook, probes, metrics, inventory, kwok := ports[0], ports[1], ports[2], ports[3], ports[4]
	if d.local == nil {
		if err := d.startKwok(ctx, kwok); err != nil {
			return err
		}
	}
	if d.inventory, err = d.process(ctx, d.inventoryCommand(inventory)); err != nil {
		return err
	}
	headline(2, "Install nodecleanup")
	if err := d.install(ctx, webhook, "http://"+inventory); err != nil {
		return err
	}
	headline(3, "Start the agent (here as a process of this machine; in production it is a Deployment)")
	if err := d.startAgent(ctx, webhook, probes, metrics); err != nil {
		return err
	}
	headline(4, "Three nodes with pods on them")
	deleted, err := d.populate(ctx)
	if err != nil {
		return err
	}
	headline(5, "kubectl delete node "+deleted.Name)
	if err := d.deleteAndWatch(ctx, deleted); err != nil {
		return err
	}
	headline(6, "Was the node deleted after its cleanup?")
	if err := d.verify(ctx, deleted); err != nil {
		return err
	}
	d.sayNextSteps(metrics)
	return nil
}

func (d *demo) install(ctx context.Context, webhook, inventory string) error {
	file := filepath.Join(d.folder, "config.yaml")
	if err := os.WriteFile(file, []byte(configFor(inventory)), 0o600); err != nil {
		return fmt.Errorf("writing the config: %w", err)
	}
	arguments := []string{"install", "--config", file, "--agent-url", "https://" + webhook}
	if d.local == nil {
		// A user may have installed while the question was open.
		if err := refuseInstalled(ctx, d.rest); err != nil {
			return err
		}
		// The policy would add the finalizer to all new nodes until the agent has limited it to the
		// demo's nodes.
		arguments = append(arguments, "--admission", "webhook")
		d.made.install = true
	}
	return d.nodecleanup(ctx, arguments...)
}

// nodecleanup runs the CLI as an operator would, and shows its output.
func (d *demo) nodecleanup(ctx context.Context, arguments ...string) error {
	say("  $ kubectl nodecleanup %s", strings.Join(arguments, " "))
	command := exec.CommandContext(ctx, filepath.Join(d.bin, "kubectl-nodecleanup"), arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+d.kubeconfig)
	output := &indenter{}
	command.Stdout, command.Stderr = output, output
	if err := command.Run(); err != nil {
		return fmt.Errorf("running kubectl nodecleanup %s: %w", arguments[0], err)
	}
	return nil
}

// indenter indents the output of another program.
type indenter struct{ midLine bool }

func (i *indenter) Write(data []byte) (int, error) {
	for line := range strings.Lines(string(data)) {
		if !i.midLine {
			fmt.Print("  ")
		}
		fmt.Print(line)
		i.midLine = !strings.HasSuffix(line, "\n")
	}
	return len(data), nil
}

func (d *demo) startAgent(ctx context.Context, webhook, probes, metrics string) error {
	kubeconfig := d.kubeconfig
	if d.local != nil {
		// The agent has only the rights that the manifests grant.
		var err error
		kubeconfig, err = d.local.KubeconfigFor(agentUser, "system:serviceaccounts", "system:serviceaccounts:"+api.Namespace)
		if err != nil {
			return fmt.Errorf("making the agent's kubeconfig: %w", err)
		}
	}
	_, err := d.process(ctx, cluster.Command{
		Name: "nodecleanup-agent",
		Path: filepath.Join(d.bin, "nodecleanup-agent"),
		Args: []string{
			"--kubeconfig", kubeconfig, "--webhook-listen", webhook, "--probe-listen", probes, "--metrics-listen", metrics,
		},
		Ready: cluster.Ready{URL: "http://" + probes + "/readyz"},
	})
	return err
}

// process starts a program that runs as long as the local cluster or, with the user's own cluster, as
// long as the demo.
func (d *demo) process(ctx context.Context, command cluster.Command) (*cluster.Process, error) {
	process := cluster.NewProcess(command, d.folder)
	if d.local != nil {
		var err error
		if process, err = d.local.Add(command); err != nil {
			return nil, err
		}
	}
	if err := process.Start(ctx); err != nil {
		return nil, err
	}
	if d.local == nil {
		d.processes = append(d.processes, process)
	}
	say("  %s runs, its log is %s", command.Name, process.Log())
	return process, nil
}

// startKwok runs kwok on this machine for the fake nodes in the user's own cluster.
func (d *demo) startKwok(ctx context.Context, serve string) error {
	command, err := cluster.KwokCommand(ctx, d.folder, d.kubeconfig, serve, os.Stdout)
	if err != nil {
		return err
	}
	_, err = d.process(ctx, command)
	return err
}

func freePorts(n int) ([]string, error) {
	var addresses []string
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer listener.Close()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}
