// Command nodecleanup-agent is the part of nodecleanup that runs in the cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/pflag"
	// The roots of public CAs, for an image that has none of its own.
	_ "golang.org/x/crypto/x509roots/fallback"
	"k8s.io/klog/v2"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	options, err := parse(os.Args[1:], os.Getenv, log)
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nodecleanup-agent:", err)
		os.Exit(2)
	}
	options.Catalog = plugins.Catalog
	if os.Getenv("GOGC") == "" {
		// What callers of the webhook leave behind then takes half as much memory.
		debug.SetGCPercent(50)
	}
	options.SetLogger = klog.SetSlogLogger // client-go logs through klog.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := agent.Run(ctx, *options); err != nil {
		fmt.Fprintln(os.Stderr, "nodecleanup-agent:", err)
		os.Exit(1)
	}
}
