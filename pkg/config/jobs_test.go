package config

import (
	"context"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type runOptions struct {
	Namespace          string `json:"namespace"`
	ServiceAccountName string `json:"serviceAccountName"`
	OnNode             bool   `json:"onNode"`
}

// runPlugin runs Pods.
type runPlugin struct{ runOptions }

func (runPlugin) Cleanup(context.Context, cleanup.Target) error { return nil }

func (p runPlugin) RunsPods() cleanup.PodRun { return cleanup.PodRun(p.runOptions) }

// drainPlugin has the name of the drain.
type drainPlugin struct{}

func (drainPlugin) Cleanup(context.Context, cleanup.Target) error { return nil }

func TestStepsThatRunPods(t *testing.T) {
	plugins := append(catalog(),
		cleanup.Descriptor{Name: "run", Bind: cleanup.Options(runOptions{}, func(o runOptions) (cleanup.Plugin, error) { return runPlugin{o}, nil })},
		cleanup.Descriptor{Name: "drain", Bind: cleanup.Options(struct{}{}, func(struct{}) (cleanup.Plugin, error) { return drainPlugin{}, nil })},
	)
	const allowed = "jobs:\n- {namespace: ops, serviceAccounts: [archiver, cleaner]}\n- {namespace: apps, serviceAccounts: [default]}\nsteps:\n"
	for name, test := range map[string]struct{ config, want string }{
		"allowed": {allowed + "- {name: a, plugin: run, options: {namespace: ops, serviceAccountName: cleaner}}\n- {name: b, plugin: run, options: {namespace: apps, serviceAccountName: default}}\n", ""},
		"no list": {
			"steps:\n- name: a\n  plugin: run\n  options:\n    namespace: ops\n    serviceAccountName: cleaner\n",
			`line 7: steps[0].options.namespace: namespace "ops" is not in the list jobs`,
		},
		"a namespace that is not listed": {
			allowed + "- name: a\n  plugin: run\n  options:\n    namespace: opps\n    serviceAccountName: cleaner\n",
			`line 10: steps[0].options.namespace: namespace "opps" is not in the list jobs; did you mean ops?`,
		},
		"the account of another namespace": {
			allowed + "- name: a\n  plugin: run\n  options:\n    namespace: apps\n    serviceAccountName: cleaner\n",
			`line 11: steps[0].options.serviceAccountName: service account "cleaner" is not in the list jobs of namespace apps`,
		},
		"a misspelt account": {
			allowed + "- {name: a, plugin: run, options: {namespace: ops, serviceAccountName: cleanr}}\n",
			`line 7: steps[0].options.serviceAccountName: service account "cleanr" is not in the list jobs of namespace ops; did you mean cleaner?`,
		},
		"the list": {
			"jobs:\n- {namespace: ops, serviceAccounts: []}\n- {namespace: ops, serviceAccounts: [a, a]}\n- {namespace: 'a b', serviceAccounts: [a]}\n- {namespaces: [x]}\n" + oneStep,
			"line 4: jobs[0].serviceAccounts: must name a ServiceAccount\n" +
				"line 5: jobs[1].namespace: \"ops\" is listed twice\n" +
				"line 5: jobs[1].serviceAccounts[1]: \"a\" is listed twice\n" +
				"line 6: jobs[2].namespace: \"a b\" is not a valid name of a namespace: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')\n" +
				"line 7: unknown field \"namespaces\"\n" +
				"line 7: jobs[3].namespace: \"\" is not a valid name of a namespace: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')\n" +
				"line 7: jobs[3].serviceAccounts: must name a ServiceAccount",
		},
		"on the Node, after the drain": {
			allowed + "- {name: drain, plugin: drain, critical: true}\n- {name: between, plugin: tell, critical: true, dependsOn: [drain]}\n" +
				"- {name: a, plugin: run, dependsOn: [between], options: {namespace: apps, serviceAccountName: default, onNode: true}}\n", "",
		},
		"on the Node, before the drain": {
			allowed + "- {name: drain, plugin: drain, dependsOn: [a]}\n- {name: a, plugin: run, options: {namespace: apps, serviceAccountName: default, onNode: true}}\n", "",
		},
		"on the Node, during the drain": {
			allowed + "- {name: drain, plugin: drain}\n- {name: a, plugin: run, options: {namespace: apps, serviceAccountName: default, onNode: true}}\n",
			`line 8: steps[1].dependsOn: the step runs a Pod on the Node, and step "drain" would evict it: add "drain" to dependsOn, or add "a" to dependsOn of "drain"`,
		},
		"elsewhere, during the drain": {
			allowed + "- {name: drain, plugin: drain}\n- {name: a, plugin: run, options: {namespace: apps, serviceAccountName: default}}\n", "",
		},
	} {
		_, err := Parse([]byte(header+test.config), plugins)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || err.Error() != test.want):
			t.Errorf("%s: the error is\n%v\nwant\n%s", name, err, test.want)
		}
	}
}
