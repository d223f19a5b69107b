// Command admission measures the webhook: its handler compared with one that does nothing, the
// creation of a Node with and without it, and its memory and latency during an attack.
//
//	go run ./test/bench/admission [-rounds 3]
//
// With -baseline it also measures a Node's creation with the webhook of another build of the
// agent, in the same run, and fails if this build is more than a tenth slower:
//
//	go build -o /tmp/older ./cmd/nodecleanup-agent     # in a checkout of the older commit
//	go run ./test/bench/admission -only creation -baseline /tmp/older
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"time"
)

// options of the measurements.
type options struct {
	// rounds in which the subjects take turns.
	rounds int
	// baseline is the path of an older agent to compare with, "" for none.
	baseline string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "rounds in which the subjects take turns")
	flag.StringVar(&o.baseline, "baseline", "", "path of an older agent's binary; the creation of nodes is compared with it")
	address := flag.String("attack", "", "internal: run only the attack against the webhook at this address")
	only := flag.String("only", "", "measure only this: handler, creation or attack")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *address != "" {
		if err := runAttacks(ctx, *address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	fmt.Printf("%d cores, %s, %s\n", runtime.NumCPU(), runtime.GOOS, runtime.Version())
	for _, one := range []struct {
		name    string
		what    string
		measure func(context.Context, options) error
	}{
		{"handler", "the handler", measureHandler},
		{"creation", "creating nodes", measureCreation},
		{"attack", "the webhook under attack", measureAttack},
	} {
		if *only != "" && *only != one.name {
			continue
		}
		if err := one.measure(ctx, o); err != nil {
			fmt.Fprintf(os.Stderr, "measuring %s: %v\n", one.what, err)
			os.Exit(1)
		}
	}
}

// quantile returns the time within which a share of all were done.
func quantile(took []time.Duration, share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[int(share*float64(len(sorted)-1))]
}
