package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/test/bench/internal/measure"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func TestBars(t *testing.T) {
	type events = []cluster.AuditEvent
	one := func(verb, resource, name string) cluster.AuditEvent {
		return cluster.AuditEvent{Verb: verb, Resource: resource, Name: name}
	}
	// Two nodes, so that 9 writes are 4.5 for each.
	var most events
	for i := range 9 {
		most = append(most, one("update", "configmaps", fmt.Sprint(i)))
	}
	tooMany := append(events{{Verb: "patch", Resource: "nodes", Subresource: "status", Name: "a"}}, most...)
	reads := append(events{one("get", "nodes", "a"), one("get", "nodes", "a"), one("list", "nodes", ""), one("watch", "nodes", "")}, most...)
	rounds := func(took time.Duration) []*deletions {
		first := time.Unix(0, 0)
		return []*deletions{{first: first, last: first.Add(took)}}
	}
	const mib = 1 << 20
	for name, test := range map[string]struct {
		made events
		peak int64
		// took is the agent's time, compared with 11 s of the floor.
		took time.Duration
		more int // nodes
		want []string
	}{
		"nothing":               {nil, 0, 9 * time.Second, 0, nil},
		"as much as allowed":    {most, maxMemory * mib, 9 * time.Second, 0, nil},
		"reads":                 {reads, 0, 9 * time.Second, 0, nil},
		"too many writes":       {tooMany, 0, 9 * time.Second, 0, []string{"writes per node: got 5.000, want at most 4.50"}},
		"a repeated write":      {events{one("patch", "nodes", "a"), one("patch", "nodes", "a"), one("patch", "nodes", "b")}, 0, 9 * time.Second, 0, []string{"repeated writes: got 1.000"}},
		"a record twice":        {events{one("create", "configmaps", "a"), one("update", "configmaps", "a")}, 0, 9 * time.Second, 0, nil},
		"too much memory":       {nil, maxMemory*mib + mib, 9 * time.Second, 0, []string{"memory in MiB: got 49.000, want at most 48.00"}},
		"memory of more nodes":  {nil, 2 * maxMemory * mib, 9 * time.Second, maxMemoryNodes, nil},
		"as slow as the floor":  {nil, 0, 11 * time.Second, 0, []string{"rate, in parts of the " + eventFloor + ": got 1.000, want at least 1.10"}},
		"too much of each kind": {append(tooMany, tooMany[0]), maxMemory*mib + mib, 20 * time.Second, 0, []string{"rate", "writes per node: got 5.500", "repeated writes: got 1.000", "49.000"}},
	} {
		b := &bench{nodes: 2, options: options{rounds: 1}, requests: map[request]int{}, peak: test.peak, agents: rounds(test.took)}
		b.floors = b.newFloors()
		for _, f := range b.floors {
			f.rounds = rounds(11 * time.Second)
		}
		b.count(test.made)
		b.nodes += test.more
		got, table := measure.Missed(b.bars()), measure.BarTable("agent", b.bars())
		if len(got) != len(test.want) || strings.Count(table, "MISSED") != len(test.want) {
			t.Errorf("%s: %v, want %q\n%s", name, got, test.want, table)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(got[i].Error(), want) {
				t.Errorf("%s: %v, want %q", name, got[i], want)
			}
		}
	}
}
