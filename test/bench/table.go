package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/bench/internal/measure"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// request is a kind of request that the agent makes.
type request struct{ verb, resource string }

// measureAgent reads, after a round, how many requests the agent has made for
// it, and the most memory that it ever had.
func (b *bench) measureAgent(ctx context.Context, mark cluster.AuditMark) error {
	made, err := b.settled(ctx, mark)
	if err != nil {
		return err
	}
	b.count(made)
	b.peak = max(b.peak, peakMemory(b.agent.PID()))
	return nil
}

// peakMemory returns the maximum resident memory of a process in bytes, 0 if the system does not
// report it.
func peakMemory(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // Only Linux reports it.
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	return 0
}

// count adds the requests of a round to the account. Rounds share no objects.
func (b *bench) count(made []cluster.AuditEvent) {
	writes := map[string]int{}
	for _, event := range made {
		kind := kindOf(event)
		b.requests[kind]++
		if kind.writes() {
			writes[kind.verb+" "+kind.resource+" "+event.Name]++
		}
	}
	for _, times := range writes {
		b.repeated += times - 1
	}
}

func kindOf(event cluster.AuditEvent) request {
	resource := event.Resource
	if event.Subresource != "" {
		resource += "/" + event.Subresource
	}
	return request{event.Verb, resource}
}

func (r request) writes() bool { return r.verb != "get" && r.verb != "list" && r.verb != "watch" }

// settled returns the agent's requests since the mark, once no more arrive: Events are written
// later than their cause.
func (b *bench) settled(ctx context.Context, mark cluster.AuditMark) ([]cluster.AuditEvent, error) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for before := -1; ; {
		events, err := b.cluster.AuditSince(mark)
		if err != nil {
			return nil, err
		}
		var made []cluster.AuditEvent
		for _, event := range events {
			// The Lease and the status are also written without cleanups.
			if !strings.HasPrefix(event.UserAgent, api.Agent) || event.Resource == "leases" || event.Name == api.StatusName || event.Stage != "ResponseComplete" {
				continue
			}
			made = append(made, event)
		}
		if len(made) == before {
			return made, nil
		}
		before = len(made)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// spend returns a function that adds the processor time of each process until then to the side's
// account.
func (b *bench) spend(side string) func() {
	pids := map[string]int{
		"kube-apiserver": b.cluster.Component(cluster.APIServer).PID(),
		"etcd":           b.cluster.Component(cluster.Etcd).PID(),
	}
	if pid := b.agent.PID(); pid != 0 {
		pids["itself"] = pid
	} else {
		pids["itself"] = os.Getpid()
	}
	before := map[string]time.Duration{}
	for name, pid := range pids {
		before[name] = measure.ProcessorTime(pid)
	}
	return func() {
		for name, pid := range pids {
			b.spent[side+" "+name] += measure.ProcessorTime(pid) - before[name]
		}
	}
}

// rate returns nodes per second over all rounds.
func (b *bench) rate(rounds []*deletions) float64 {
	var took time.Duration
	for _, round := range rounds {
		took += round.last.Sub(round.first)
	}
	return float64(b.nodes*len(rounds)) / took.Seconds()
}

func quantile(rounds []*deletions, q float64) time.Duration {
	var all []time.Duration
	for _, round := range rounds {
		all = append(all, round.took...)
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))].Round(time.Millisecond)
}

// table returns the results.
func (b *bench) table() string {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%d nodes of %d images, %d at a time, %d rounds\n", b.nodes, b.images, b.concurrency, b.rounds)
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "\tnodes/s\tp50 from DELETE to end\tp99\t")
	for _, line := range append(slices.Clone(b.floors), &floor{name: "agent", rounds: b.agents}) {
		fmt.Fprintf(out, "%s\t%.0f\t%s\t%s\t\n", line.name, b.rate(line.rounds), quantile(line.rounds, .5), quantile(line.rounds, .99))
	}
	out.Flush()
	for _, f := range b.floors {
		fmt.Fprintf(&text, "the agent's rate is %.2f of the %s\n", b.rate(b.agents)/b.rate(f.rounds), f.name)
	}
	text.WriteString(measure.BarTable("agent", b.bars()))
	fmt.Fprintln(&text, "processor time per node:")
	out = tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(b.spent)) {
		fmt.Fprintf(out, "  %s\t%.2f ms\n", name, float64(b.spent[name])/float64(time.Millisecond)/float64(b.nodes*b.rounds))
	}
	out.Flush()
	out = tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "the agent's requests per node:")
	kinds := slices.SortedFunc(maps.Keys(b.requests), func(x, y request) int {
		return cmp.Or(cmp.Compare(b.requests[y], b.requests[x]), cmp.Compare(x.verb, y.verb))
	})
	for _, kind := range kinds {
		fmt.Fprintf(out, "  %s\t%s\t%.3f\n", kind.verb, kind.resource, b.perNode(b.requests[kind]))
	}
	out.Flush()
	fmt.Fprintf(&text, "  writes in all %.3f, repeated %d\n", b.perNode(b.writes()), b.repeated)
	return text.String()
}

func (b *bench) writes() int {
	writes := 0
	for kind, count := range b.requests {
		if kind.writes() {
			writes += count
		}
	}
	return writes
}

func (b *bench) perNode(count int) float64 { return float64(count) / float64(b.nodes*b.rounds) }
