package config

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
)

const oneStep = "steps: [{name: a, plugin: tell}]\n"

func parseGuard(t *testing.T, guard string) DeleteGuard {
	t.Helper()
	config, err := Parse([]byte(header+guard+oneStep), catalog())
	if err != nil {
		t.Fatal(err)
	}
	return config.Guard
}

func TestGuardDefaults(t *testing.T) {
	for name, written := range map[string]string{"not written": "", "empty": "guard: {}\n"} {
		want := DeleteGuard{Enabled: true, ControlPlane: Allow, LastSchedulable: Allow, OnReadError: Allow}
		if got := parseGuard(t, written); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the guard is %+v, want %+v", name, got, want)
		}
	}
}

func TestGuardOptions(t *testing.T) {
	guard := parseGuard(t, `guard:
  enabled: false
  criticalPods:
  - namespaces: [db, queue]
    selector: {matchLabels: {tier: critical}}
  - selector: {matchExpressions: [{key: example.com/keep, operator: Exists}]}
  controlPlane: refuse
  lastSchedulable: refuse
  maxTerminating: 10%
  exempt: {users: ["system:serviceaccount:kube-system:cluster-autoscaler"], groups: [cloud]}
  onReadError: refuse
`)
	if guard.Enabled || guard.ControlPlane != Refuse || guard.LastSchedulable != Refuse || guard.OnReadError != Refuse || guard.MaxTerminating != (Limit{Percent: 10}) ||
		guard.ExemptUsers[0] != "system:serviceaccount:kube-system:cluster-autoscaler" || guard.ExemptGroups[0] != "cloud" {
		t.Errorf("the guard is %+v", guard)
	}
	critical := labels.Set{"tier": "critical"}
	for _, test := range []struct {
		selector  int
		namespace string
		labels    labels.Set
		want      bool
	}{
		{0, "db", critical, true}, {0, "web", critical, false}, {0, "db", nil, false},
		{1, "web", labels.Set{"example.com/keep": ""}, true}, {1, "web", critical, false},
	} {
		if got := guard.CriticalPods[test.selector].Matches(test.namespace, test.labels); got != test.want {
			t.Errorf("criticalPods[%d] chooses a pod in %s with %v: %v", test.selector, test.namespace, test.labels, got)
		}
	}
}

func TestALimitOfNodes(t *testing.T) {
	for _, test := range []struct {
		written     string
		nodes, want int
	}{
		{"3", 100, 3}, {"3", 1, 3}, {`"3"`, 9, 3}, {"10%", 100, 10}, {"10%", 19, 1}, {"10%", 5, 1}, {"100%", 5, 5}, {"50%", 0, 1},
	} {
		limit := parseGuard(t, "guard: {maxTerminating: "+test.written+"}\n").MaxTerminating
		if got := limit.Of(test.nodes); got != test.want || !limit.Set() {
			t.Errorf("%s of %d nodes is %d, want %d", test.written, test.nodes, got, test.want)
		}
	}
}

func TestParseRefusesAGuard(t *testing.T) {
	for name, test := range map[string]struct{ guard, want string }{
		"unknown field":               {"guard: {exemptions: {}}\n", `line 3: unknown field "exemptions"`},
		"answers":                     {"guard:\n  controlPlane: deny\n  lastSchedulable: Refuse\n  onReadError: 7\n", "line 4: guard.controlPlane: must be allow or refuse, not \"deny\"\nline 5: guard.lastSchedulable: must be allow or refuse, not \"Refuse\"\nline 6: guard.onReadError: must be allow or refuse, not \"7\""},
		"every pod":                   {"guard:\n  criticalPods:\n  - {}\n", "line 5: guard.criticalPods[0]: selects all pods: set namespaces or a selector"},
		"bad selector":                {"guard:\n  criticalPods:\n  - selector: {matchExpressions: [{key: a, operator: Near}]}\n", `line 5: guard.criticalPods[0].selector: "Near" is not a valid label selector operator`},
		"empty namespace":             {"guard:\n  criticalPods:\n  - namespaces:\n    - db\n    - ''\n", "line 7: guard.criticalPods[0].namespaces[1]: is empty"},
		"limit of 0":                  {"guard: {maxTerminating: 0}\n", `line 3: "0" is neither a number of nodes from 1 nor a share of them such as 10%`},
		"limit of 0%":                 {"guard: {maxTerminating: 0%}\n", `line 3: "0%" is neither`},
		"fractional limit":            {"guard: {maxTerminating: 0.5}\n", `line 3: "0.5" is neither`},
		"limit in words":              {"guard: {maxTerminating: some}\n", `line 3: "some" is neither`},
		"a list":                      {"guard: {maxTerminating: [3]}\n", `line 3: "" is neither`},
		"more than 100%":              {"guard: {maxTerminating: 101%}\n", `line 3: "101%" is more than 100%`},
		"a user twice":                {"guard:\n  exempt:\n    users: [a, b, a]\n", `line 5: guard.exempt.users[2]: "a" is listed twice`},
		"an empty group":              {"guard:\n  exempt:\n    groups: ['']\n", "line 5: guard.exempt.groups[0]: is empty"},
		"every user":                  {"guard:\n  exempt:\n    groups: [\"system:authenticated\"]\n", "line 5: guard.exempt.groups[0]: every user is in system:authenticated"},
		"together with another fault": {"guard: {onReadError: perhaps}\nhistory: {maxRuns: 0}\n", "line 3: guard.onReadError: must be allow or refuse, not \"perhaps\"\nline 4: history.maxRuns: must be at least 1, not 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(header+test.guard+oneStep), catalog())
			if err == nil || err.Error() != test.want && !(len(err.Error()) > len(test.want) && err.Error()[:len(test.want)] == test.want) {
				t.Errorf("the error is\n%v\nwant\n%s", err, test.want)
			}
		})
	}
}
