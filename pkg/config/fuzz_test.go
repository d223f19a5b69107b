package config_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// FuzzParse checks that any input is either rejected with faults that name the line and the cause,
// or parsed into a valid config.
func FuzzParse(f *testing.F) {
	const header = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"
	for _, seed := range []string{
		header + "steps: [{name: a, plugin: drain}, {name: b, plugin: volumes, dependsOn: [a]}, {name: c, plugin: logger, critical: false}]",
		header + "steps: [{name: a, plugin: logger, dependsOn: [b]}, {name: b, plugin: logger, dependsOn: [a]}]",
		header + "jobs: [{namespace: ops, serviceAccounts: [a]}]\nsteps: [{name: j, plugin: job, options: {namespace: ops, serviceAccountName: a, onNode: true, template: {spec: {containers: [{name: c, image: i, env: [{name: A, value: '${node.name}'}]}]}}}}]",
		header + "steps: [{name: h, plugin: http, options: {url: https://x, headers: {A: {secretKeyRef: {name: s, key: k}}}}}]",
		header + "steps: [{name: a, plugin: drain, timeout: 1s, totalTimeout: 1h, retry: {maxRetries: 1, initialDelay: 1ms, backoffFactor: 1.5, jitter: 0.5}}]",
		header + "nodeSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}\ndeadline: {after: 1h, action: Release}\nhistory: {maxAge: 1h, maxRuns: 1}\nsteps: [{name: a, plugin: logger}]",
		header + "steps: [{name: a, plugin: logger}]\nnotifications: [{name: n, plugin: http, events: [Failed, Paused], nodeSelector: {matchLabels: {a: b}}, groupWait: 1m, repeatInterval: 1h, options: {url: https://x, body: '{\"a\": \"${notification.text}\"}'}}]",
		header + "concurrency: {nodes: -1}\nsteps: &a [{name: a, plugin: logger, options: {x: *a}}]",
		header + "steps: [{name: a, plugin: logger}, {name: a, plugin: nothing, timeout: never}]",
		"", "---", "null", "[]", "a: &a [*a]", "{", "\t", "%YAML 9", "a: 1\n---\nb: 2", "steps: {<<: {a: 1}}", "\xff",
	} {
		f.Add(seed)
	}
	catalog := plugins.Catalog(plugins.Dependencies{})
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := config.Parse([]byte(text), catalog)
		if err != nil {
			var faults config.Errors
			if parsed != nil || !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("%q gave %v and the error %v", text, parsed, err)
			}
			for _, fault := range faults {
				if fault.Problem == "" || fault.Line < 0 {
					t.Fatalf("%q has a fault that says nothing: %+v", text, fault)
				}
			}
			return
		}
		var before []string
		for _, step := range parsed.Steps {
			if step.Name == "" || step.Bound == nil || slices.Contains(before, step.Name) || step.Timeout <= 0 || step.Retry.MaxRetries < 0 {
				t.Fatalf("%q gave the step %+v", text, step)
			}
			before = append(before, step.Name)
		}
		if len(before) == 0 || parsed.Concurrency.Nodes < 1 || parsed.Concurrency.StepsPerNode < 1 || parsed.Concurrency.Evictions < 1 || parsed.History.MaxRuns < 1 || parsed.Deadline.After < 0 {
			t.Fatalf("%q gave %+v", text, parsed)
		}
		again, err := config.Parse([]byte(text), catalog)
		if err != nil || again.Hash != parsed.Hash {
			t.Fatalf("%q was read once as %s, then as %v, %v", text, parsed.Hash, again, err)
		}
		for _, step := range parsed.Steps {
			for _, needed := range step.DependsOn {
				if needed == step.Name || !slices.Contains(before, needed) {
					t.Fatalf("%q has step %s depend on %s", text, step.Name, needed)
				}
			}
		}
	})
}
