// Command bench measures what a cleanup costs, against the least that it can
// cost: nodes of realistic size are deleted at once, and either the agent runs a
// step that does nothing for each of them, or a bare client only takes the
// finalizers off (the floor). Both happen in one run on one API server, in turns,
// so their ratio says more than any of their times. It fails, after it has printed what
// it measured, where the agent writes more than it may or takes more memory; the ratio
// says how busy the machine was, too, and fails nothing.
//
//	go run ./test/bench -nodes 1000,5000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// options of the benchmark.
type options struct {
	// sizes are the numbers of nodes to measure with, one after the other.
	sizes []int
	// images of each node.
	images int
	// concurrency of the client that deletes, of the floor, and of the agent's cleanups.
	concurrency int
	// rounds in which the floor and the agent take turns.
	rounds int
}

func main() {
	var o options
	sizes := flag.String("nodes", "1000", "how many nodes to delete at once; several numbers are measured one after the other")
	flag.IntVar(&o.images, "images", 40, "images on each node")
	flag.IntVar(&o.concurrency, "concurrency", 50, "nodes in work at the same time, for the floor and for the agent")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds in which the floor and the agent take turns; 0: three, or as many as it takes for 5,000 nodes")
	flag.Parse()
	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "bench: -nodes: %q is no number of nodes\n", size)
			os.Exit(2)
		}
		o.sizes = append(o.sizes, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures each size on a cluster of its own. It returns an error, after all was
// measured and printed, where the agent took more than it may.
func run(ctx context.Context, o options) error {
	fmt.Println(machine())
	var breaches []error
	for _, nodes := range o.sizes {
		b, err := measure(ctx, o, nodes)
		if err != nil {
			return fmt.Errorf("measuring %d nodes: %w", nodes, err)
		}
		fmt.Print(b.table())
		for _, breach := range b.breaches() {
			breaches = append(breaches, fmt.Errorf("%d nodes: %w", nodes, breach))
		}
	}
	return errors.Join(breaches...)
}

func measure(ctx context.Context, o options, nodes int) (b *bench, err error) {
	if o.rounds < 1 {
		o.rounds = max(3, 5000/nodes) // A turn of a second or two says more about the machine.
	}
	c, err := cluster.New(ctx, cluster.Options{Name: "bench", Output: os.Stderr})
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := c.Stop(context.WithoutCancel(ctx)); err == nil {
			err = stopErr
		}
	}()
	if b, err = newBench(c, o, nodes); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "nodecleanup-bench-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err == nil { // An error names the agent's log, which is there.
			err = os.RemoveAll(dir)
		}
	}()
	if err := b.install(ctx, dir); err != nil {
		return nil, err
	}
	for range o.rounds {
		if err := b.floorRound(ctx); err != nil {
			return nil, fmt.Errorf("the floor: %w", err)
		}
		if err := b.recordRound(ctx); err != nil {
			return nil, fmt.Errorf("the floor with records: %w", err)
		}
		if err := b.agentRound(ctx); err != nil {
			return nil, fmt.Errorf("the agent: %w", err)
		}
	}
	return b, nil
}
