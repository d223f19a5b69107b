// Command bench measures what a cleanup costs, against the least that it can
// cost: nodes of realistic size are deleted at once, and either the agent runs a
// step that does nothing for each of them, or a bare client only takes the
// finalizers off (the floor). Both happen in one run on one API server, in turns,
// so their ratio says more than any of their times.
//
//	go run ./test/bench -nodes 1000,5000
package main

import (
	"context"
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
	flag.IntVar(&o.rounds, "rounds", 2, "rounds in which the floor and the agent take turns")
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

// run measures each size on a cluster of its own.
func run(ctx context.Context, o options) error {
	fmt.Println(machine())
	for _, nodes := range o.sizes {
		result, err := measure(ctx, o, nodes)
		if err != nil {
			return fmt.Errorf("measuring %d nodes: %w", nodes, err)
		}
		fmt.Print(result)
	}
	return nil
}

func measure(ctx context.Context, o options, nodes int) (result string, err error) {
	c, err := cluster.New(ctx, cluster.Options{Name: "bench", Output: os.Stderr})
	if err != nil {
		return "", err
	}
	defer func() {
		if stopErr := c.Stop(context.WithoutCancel(ctx)); err == nil {
			err = stopErr
		}
	}()
	b, err := newBench(c, o, nodes)
	if err != nil {
		return "", err
	}
	if err := b.install(ctx); err != nil {
		return "", err
	}
	for range o.rounds {
		if err := b.floorRound(ctx); err != nil {
			return "", fmt.Errorf("the floor: %w", err)
		}
		if err := b.recordRound(ctx); err != nil {
			return "", fmt.Errorf("the floor with records: %w", err)
		}
		if err := b.agentRound(ctx); err != nil {
			return "", fmt.Errorf("the agent: %w", err)
		}
	}
	return b.table(), nil
}
