// Command demo deletes a Node of a real Kubernetes cluster and shows its cleanup. Run make demo; make
// demo-down stops the cluster.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "up":
		return up(ctx)
	case len(arguments) == 1 && arguments[0] == "down":
		return down(ctx)
	case len(arguments) == 2 && arguments[0] == "inventory":
		return serveInventory(ctx, arguments[1])
	}
	return fmt.Errorf("usage: demo up|down")
}
