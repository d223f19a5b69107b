// Command bench measures the costs of a cleanup, compared with the lowest possible costs. It
// deletes Nodes of realistic size at once. Either the agent runs an empty step for each of them,
// or a bare client does a part of the agent's work (the floors, floor.go). All take turns in one
// run on one API server, so that their ratios are more significant than their times. It prints
// the bars (bars.go), and fails after all measurements if the agent misses one.
//
// With -idle it also measures the memory of an idle agent with that many Nodes.
//
//	go run ./test/bench -nodes 1000,5000 -idle 15000
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

	"github.com/nodecleanup/kubectl-nodecleanup/test/bench/internal/measure"
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
	// rounds in which the floors and the agent take turns.
	rounds int
	// idle is the number of nodes among which the agent's memory is measured; 0 for none.
	idle int
}

func main() {
	var o options
	sizes := flag.String("nodes", "1000", "how many nodes to delete at once; several numbers are measured one after the other")
	flag.IntVar(&o.images, "images", 40, "images on each node")
	flag.IntVar(&o.concurrency, "concurrency", 50, "nodes in work at the same time, for the floors and for the agent")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds in which the floors and the agent take turns; 0: three, or as many as it takes for 5,000 nodes")
	flag.IntVar(&o.idle, "idle", 0, "measure the memory of an idle agent among so many nodes, too; 0: do not")
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

// run measures each size on a new cluster. After all measurements, it returns an error for each
// bar that the agent misses.
func run(ctx context.Context, o options) error {
	fmt.Println(measure.Machine())
	var misses []error
	for _, nodes := range o.sizes {
		b, err := measureNodes(ctx, o, nodes)
		if err != nil {
			return fmt.Errorf("measuring %d nodes: %w", nodes, err)
		}
		fmt.Print(b.table())
		for _, miss := range measure.Missed(b.bars()) {
			misses = append(misses, fmt.Errorf("%d nodes: %w", nodes, miss))
		}
	}
	if o.idle > 0 {
		idle, err := measureIdle(ctx, o)
		if err != nil {
			return fmt.Errorf("measuring an idle agent: %w", err)
		}
		fmt.Print("\n", measure.BarTable("agent", []measure.Bar{idle}))
		misses = append(misses, measure.Missed([]measure.Bar{idle})...)
	}
	return errors.Join(misses...)
}

// setUp starts a cluster, and installs and builds the agent. The returned function stops the
// cluster, and returns its argument or its own error. It keeps the agent's log if there was an
// error.
func setUp(ctx context.Context, o options, nodes int) (b *bench, stop func(error) error, err error) {
	c, err := cluster.New(ctx, cluster.Options{Name: "bench", Output: os.Stderr})
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "nodecleanup-bench-")
	if err != nil {
		return nil, nil, errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
	}
	stop = func(err error) error {
		err = errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
		if err == nil {
			err = os.RemoveAll(dir)
		}
		return err
	}
	if b, err = newBench(c, o, nodes); err == nil {
		err = b.install(ctx, dir)
	}
	if err != nil {
		return nil, nil, stop(err)
	}
	return b, stop, nil
}

func measureNodes(ctx context.Context, o options, nodes int) (*bench, error) {
	if o.rounds < 1 {
		o.rounds = max(3, 5000/nodes) // A turn of a second or two says more about the machine.
	}
	b, stop, err := setUp(ctx, o, nodes)
	if err != nil {
		return nil, err
	}
	return b, stop(b.takeTurns(ctx))
}

// takeTurns has the floors and the agent delete Nodes, one after the other.
func (b *bench) takeTurns(ctx context.Context) error {
	for b.round = range b.rounds {
		for i, f := range b.floors {
			if err := b.floorRound(ctx, f, i); err != nil {
				return fmt.Errorf("the %s: %w", f.name, err)
			}
		}
		if err := b.agentRound(ctx); err != nil {
			return fmt.Errorf("the agent: %w", err)
		}
	}
	return nil
}
