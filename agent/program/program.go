// Package program is the main program of the agent: flags, environment, signals and exit codes. An agent with
// plugins of your own calls Main with its own catalog, see examples/agent.
package program

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
	// The roots of public CAs, for an image without them.
	_ "golang.org/x/crypto/x509roots/fallback"
	"k8s.io/klog/v2"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// Catalog lists the plugins of an agent. The default agent has plugins.Catalog.
type Catalog = func(plugins.Dependencies) []cleanup.Descriptor

// Main runs the agent with the plugins of the catalog until the process is asked to stop by SIGINT or
// SIGTERM. The exit code is 2 for wrong flags or environment variables, and 1 if the agent cannot start or
// must stop.
func Main(catalog Catalog) {
	if code := run(catalog, os.Args[1:]); code != 0 {
		os.Exit(code)
	}
}

func run(catalog Catalog, arguments []string) (exitCode int) {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	options, err := parse(arguments, os.Getenv, log)
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nodecleanup-agent:", err)
		return 2
	}
	options.Catalog = catalog
	if os.Getenv("GOGC") == "" {
		// The heap then grows by at most half between collections, so bursts of webhook requests need less
		// memory.
		debug.SetGCPercent(50)
	}
	options.SetLogger = klog.SetSlogLogger // client-go logs through klog.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := agent.Run(ctx, *options); err != nil {
		fmt.Fprintln(os.Stderr, "nodecleanup-agent:", err)
		return 1
	}
	return 0
}
