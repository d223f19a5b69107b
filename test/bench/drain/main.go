// Command drain measures how fast Nodes are drained: by kubectl, by Karpenter's terminator, by
// the plugin of this project, and by callers that only evict (the floors). They take turns on one
// cluster, so that their ratios are more significant than their times. The controller manager
// replaces evicted Pods on other Nodes, where they become ready, so that the budgets allow more
// evictions.
//
// It is a Go module of its own, because Karpenter needs many libraries that nothing else here needs.
//
//	cd test/bench/drain && go run . -rounds 3
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/nodecleanup/kubectl-nodecleanup/test/bench/internal/measure"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func main() {
	rounds := flag.Int("rounds", 3, "rounds in which the tools take turns")
	only := flag.String("tools", "", "measure only these tools, such as floor-4,ours")
	which := flag.String("scenarios", "", "measure only these scenarios, such as 25,150,20x30")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrllog.SetLogger(logr.Discard()) // Karpenter logs through it,
	klog.SetLogger(logr.Discard())    // and client-go through this, when it throttles kubectl.
	if err := run(ctx, *rounds, words(*only), words(*which)); err != nil {
		fmt.Fprintln(os.Stderr, "bench-drain:", err)
		os.Exit(1)
	}
}

// words returns the set of words of a list, nil for an empty list.
func words(list string) map[string]bool {
	if list == "" {
		return nil
	}
	set := map[string]bool{}
	for word := range strings.SplitSeq(list, ",") {
		set[word] = true
	}
	return set
}

// run measures every scenario with every tool. It returns an error, after everything was
// measured and printed, for each bar that is missed.
func run(ctx context.Context, rounds int, only, which map[string]bool) error {
	fmt.Println(measure.Machine())
	c, err := cluster.New(ctx, cluster.Options{
		Name: "bench-drain", Output: os.Stderr, WithControllerManager: true, WithScheduler: true, WithKwok: true,
	})
	if err != nil {
		return err
	}
	misses, err := takeTurns(ctx, c, rounds, only, which)
	return errors.Join(err, c.Stop(context.WithoutCancel(ctx)), errors.Join(misses...))
}

func takeTurns(ctx context.Context, c *cluster.Cluster, rounds int, only, which map[string]bool) (misses []error, err error) {
	b, err := newBench(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("preparing the cluster: %w", err)
	}
	for _, s := range scenarios {
		if which != nil && !which[s.name] {
			continue
		}
		r := report{scenario: s}
		for round := range rounds {
			for _, tool := range b.tools {
				if only != nil && !only[tool.name] {
					continue
				}
				measured, err := b.measure(ctx, s, tool, fmt.Sprintf("%s-%s-%d", s.name, tool.name, round))
				if err != nil {
					return misses, fmt.Errorf("%s, drained by %s: %w", s, tool.name, err)
				}
				r.add(tool.name, measured)
			}
		}
		fmt.Print(r.table())
		bars := r.bars()
		fmt.Print(measure.BarTable(ours, bars))
		for _, miss := range measure.Missed(bars) {
			misses = append(misses, fmt.Errorf("%s: %w", s, miss))
		}
	}
	return misses, nil
}
