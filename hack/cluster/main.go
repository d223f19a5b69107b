// Command cluster keeps local Kubernetes clusters: for the demo, and to try things by hand.
//
//	eval "$(go run ./hack/cluster up --kwok)"
//	go run ./hack/cluster status
//	go run ./hack/cluster down
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, streams{out: os.Stdout, progress: os.Stderr}, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.As(err, new(usageError)):
		fmt.Fprintf(os.Stderr, "%v\n\n%s", err, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}
