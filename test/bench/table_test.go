package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func TestWhatTheAgentMayNotTakeIsABreach(t *testing.T) {
	type events = []cluster.AuditEvent
	one := func(verb, resource, name string) cluster.AuditEvent {
		return cluster.AuditEvent{Verb: verb, Resource: resource, Name: name}
	}
	var enough, tooMany events
	for i := range maxWrites {
		enough = append(enough, one("update", "configmaps", fmt.Sprint(i)))
	}
	tooMany = append(tooMany, enough...)
	tooMany = append(tooMany, cluster.AuditEvent{Verb: "patch", Resource: "nodes", Subresource: "status", Name: "a"})
	for name, test := range map[string]struct {
		made events
		peak int64
		want []string
	}{
		"nothing":               {nil, 0, nil},
		"as much as may be":     {enough, maxMemory - 1, nil},
		"reads":                 {append(enough, one("get", "nodes", "a"), one("get", "nodes", "a"), one("list", "nodes", ""), one("watch", "nodes", "")), 0, nil},
		"too many writes":       {tooMany, 0, []string{"wrote 6.000 times per node"}},
		"a repeated write":      {events{one("patch", "nodes", "a"), one("patch", "nodes", "a"), one("patch", "nodes", "b")}, 0, []string{"repeated 1 writes"}},
		"the journal":           {events{one("update", "configmaps", "nodecleanup-journal"), one("update", "configmaps", "nodecleanup-journal")}, 0, nil},
		"the journal too often": {append(enough, one("update", "configmaps", "nodecleanup-journal")), 0, []string{"wrote 6.000 times per node"}},
		"a record, then anew":   {events{one("create", "configmaps", "a"), one("update", "configmaps", "a")}, 0, nil},
		"too much memory":       {nil, maxMemory, []string{"64.0 MiB"}},
		"too much of each kind": {append(tooMany, tooMany[0]), maxMemory, []string{"wrote 7.000", "repeated 1 writes", "64.0 MiB"}},
	} {
		b := &bench{nodes: 1, options: options{rounds: 1}, requests: map[request]int{}, peak: test.peak}
		b.count(test.made)
		got := b.breaches()
		if len(got) != len(test.want) {
			t.Errorf("%s: %v", name, got)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(got[i].Error(), want) {
				t.Errorf("%s: %v, want %q", name, got[i], want)
			}
		}
	}
}
