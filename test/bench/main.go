// Command bench compares the agent with minimal clients that do part of its work (the floors,
// floor.go). It deletes Nodes of realistic size at once, and the agent runs an empty step for each. All
// take turns on one API server, so that their ratios are more significant than their times. It prints
// the limits (bars.go), and fails if the agent exceeds one.
//
// With -notifications it compares the agent with itself: without notifications, and with receivers that hang,
// answer 429, and answer 500.
//
// With -idle it also measures the memory of an idle agent in a cluster of that many Nodes.
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
	// sizes are the numbers of Nodes to delete; each is measured separately.
	sizes []int
	// images of each node.
	images int
	// concurrency of the client that deletes, of the floor, and of the agent's cleanups.
	concurrency int
	// rounds in which the floors and the agent take turns.
	rounds int
	// idle is the number of Nodes for the memory measurement of an idle agent, 0 for none.
	idle int
	// notifications measures the effect of broken receivers of notifications.
	notifications bool
}

func main() {
	var o options
	sizes := flag.String("nodes", "1000", "number of nodes to delete at once; with a list, each number is measured")
	flag.IntVar(&o.images, "images", 40, "images on each node")
	flag.IntVar(&o.concurrency, "concurrency", 50, "number of nodes processed concurrently, by the floors and by the agent")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds in which the floors and the agent take turns; 0: at least three, and enough to delete 5,000 nodes")
	flag.IntVar(&o.idle, "idle", 0, "also measure the memory of an idle agent in a cluster of this many nodes; 0: skip")
	flag.BoolVar(&o.notifications, "notifications", false, "measure only how receivers of notifications that hang or refuse change the rate, with the first number of -nodes")
	flag.Parse()
	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "bench: -nodes: %q is not a number of nodes\n", size)
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
	if o.notifications {
		bar, err := measureNotifications(ctx, o)
		if err != nil {
			return fmt.Errorf("measuring notifications: %w", err)
		}
		fmt.Print("\n", measure.BarTable("agent", []measure.Bar{bar}))
		return errors.Join(measure.Missed([]measure.Bar{bar})...)
	}
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
		o.rounds = max(3, 5000/nodes) // One round of a second or two varies too much.
	}
	b, stop, err := setUp(ctx, o, nodes)
	if err != nil {
		return nil, err
	}
	return b, stop(b.takeTurns(ctx))
}

// takeTurns measures the floors and the agent alternately.
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
