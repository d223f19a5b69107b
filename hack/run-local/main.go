// Command run-local runs the agent on this machine against the cluster of
// $KUBECONFIG, unless an agent runs in that cluster: make run-local.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv, os.Stderr, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "run-local:", err)
		var ended *exec.ExitError
		if errors.As(err, &ended) && ended.ExitCode() > 0 {
			os.Exit(ended.ExitCode())
		}
		os.Exit(1)
	}
}

// run runs the agent's command until it exits. If ctx ends, run sends it SIGTERM.
func run(ctx context.Context, getenv func(string) string, out io.Writer, command []string) error {
	if len(command) == 0 {
		return errors.New("usage: run-local AGENT [ARGUMENT...]")
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster by KUBECONFIG: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := refuse(ctx, client, config.Host, getenv("FORCE")); err != nil {
		return err
	}
	flags, err := webhookFlags(ctx, client, command)
	if err != nil {
		return err
	}
	agent := exec.CommandContext(ctx, command[0], slices.Concat(command[1:], flags)...)
	agent.Stdout, agent.Stderr = os.Stdout, out
	agent.Cancel = func() error { return agent.Process.Signal(syscall.SIGTERM) }
	agent.WaitDelay = time.Minute
	err = agent.Run()
	if ctx.Err() != nil && agent.ProcessState != nil && agent.ProcessState.Success() {
		err = nil // It was stopped and ended in order.
	}
	if err != nil {
		err = fmt.Errorf("running %s: %w", command[0], err)
	}
	return errors.Join(err, warnAboutFinalizers(context.WithoutCancel(ctx), client, out))
}
