package drain

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
)

// bound returns options as config writes them.
func bound(t *testing.T, written string) options {
	t.Helper()
	built, faults := Descriptor(nil, clock.RealClock{}, nil).Bind([]byte(written))
	if faults != nil {
		t.Fatal(faults)
	}
	return built.(*plugin).options
}

func app(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": name} }
}

func created(at time.Time) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.CreationTimestamp = metav1.NewTime(at) }
}

const written = `{"rules":[
	{"selector":{"matchLabels":{"app":"agent"}},"action":"skip"},
	{"namespaces":["batch"],"action":"waitCompleted","order":-1},
	{"selector":{"matchExpressions":[{"key":"app","operator":"In","values":["db","cache"]}]},"order":5,"gracePeriodSeconds":90},
	{"selector":{"matchLabels":{"app":"gateway"}},"action":"last","gracePeriodSeconds":30},
	{"selector":{"matchLabels":{"app":"single"}},"action":"rolloutRestart"},
	{"selector":{"matchLabels":{"app":"cache"}},"action":"skip"}
],"daemonSets":"evictLast","gracePeriodSeconds":7}`

func TestFirstMatchingRuleApplies(t *testing.T) {
	o := bound(t, written)
	inBatch := func(pod *corev1.Pod) { pod.Namespace = "batch" }
	ds := ownedBy("DaemonSet")
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		in   circumstances
		want decision
	}{
		"skip":                             {pod: makePod("a", app("agent")), want: decision{action: leave, reason: "skipped by rules[0]"}},
		"skip an unmanaged one":            {pod: makePod("a", app("agent"), unmanaged), want: decision{action: leave, reason: "skipped by rules[0]"}},
		"skip a terminating one":           {pod: makePod("a", app("agent"), deleted(time.Hour)), want: decision{action: leave, reason: "skipped by rules[0]"}},
		"skip one of a DaemonSet":          {pod: makePod("a", app("agent"), ds), want: decision{action: leave, reason: "skipped by rules[0]"}},
		"to complete":                      {pod: makePod("a", inBatch, unmanaged), want: decision{action: await, reason: "not evicted, waiting for it to complete (rules[1])"}},
		"completed":                        {pod: makePod("a", inBatch, phase(corev1.PodSucceeded)), want: decision{action: leave, reason: "finished"}},
		"cannot complete":                  {pod: makePod("a", inBatch), in: circumstances{unreachable: true}, want: decision{action: evict, reason: "order -1, rules[1]"}},
		"evict":                            {pod: makePod("a", app("cache")), want: decision{action: evict, reason: "order 5, rules[2]"}},
		"last":                             {pod: makePod("a", app("gateway")), want: decision{action: evict, reason: "last of its group, rules[3]"}},
		"restart":                          {pod: makePod("a", app("single")), want: decision{action: restart}},
		"restart, emptyDir":                {pod: makePod("a", app("single"), withEmptyDir), want: decision{action: restart, reason: emptyDirLost}},
		"restart, terminating":             {pod: makePod("a", app("single"), deleted(time.Hour)), want: decision{action: await, reason: "terminating"}},
		"restart, unmanaged":               {pod: makePod("a", app("single"), unmanaged), want: decision{refuse, "it has no controller that would create it again (option allowUnmanaged)", "allowUnmanaged"}},
		"no rule":                          {pod: makePod("a"), want: decision{action: evict}},
		"of a DaemonSet":                   {pod: makePod("a", ds), want: decision{action: evict, reason: "DaemonSet, evicted last"}},
		"of a DaemonSet, terminating":      {pod: makePod("a", ds, deleted(time.Hour)), want: decision{action: await, reason: "terminating"}},
		"of a DaemonSet, came back":        {pod: makePod("a", ds, created(noon)), want: decision{action: leave, reason: "DaemonSet"}},
		"of a DaemonSet, terminating, new": {pod: makePod("a", ds, created(noon), deleted(time.Hour)), want: decision{action: leave, reason: "DaemonSet"}},
	} {
		test.in.now, test.in.began = noon, noon
		if got := o.decide(test.pod, test.in); got != test.want {
			t.Errorf("%s: decision is %+v, want %+v", name, got, test.want)
		}
	}
}

func TestEmptyDirIsNotLostByARolloutRestart(t *testing.T) {
	o := bound(t, `{"allowEmptyDirData":false,"rules":[{"namespaces":["shop"],"action":"rolloutRestart"}]}`)
	if got := o.decide(makePod("a", withEmptyDir), circumstances{now: noon}); got.action != refuse {
		t.Errorf("decision is %+v", got)
	}
}

func TestRanksByRules(t *testing.T) {
	o := bound(t, written)
	inBatch := func(pod *corev1.Pod) { pod.Namespace = "batch" }
	priority := func(pod *corev1.Pod) { value := int32(systemCritical); pod.Spec.Priority = &value }
	ordered := []*corev1.Pod{
		makePod("batch", inBatch), makePod("no-rule"), makePod("db", app("db")), makePod("gateway", app("gateway")),
		makePod("critical", priority), makePod("critical-last", app("gateway"), priority), makePod("csi", hostPath("/var/lib/kubelet/plugins")),
		makePod("daemon", ownedBy("DaemonSet"), priority), makePod("daemon-db", ownedBy("DaemonSet"), app("db")),
		makePod("own", func(pod *corev1.Pod) { pod.Labels = map[string]string{"app.kubernetes.io/name": "nodecleanup"} }),
	}
	for i := range ordered[1:] {
		if a, b := ordered[i], ordered[i+1]; !o.rankOf(a).less(o.rankOf(b)) || o.rankOf(b).less(o.rankOf(a)) {
			t.Errorf("%s is not before %s: %+v, %+v", a.Name, b.Name, o.rankOf(a), o.rankOf(b))
		}
	}
}

func TestGracePeriodOfARule(t *testing.T) {
	s := &stub{answer: func(*http.Request) metav1.Status { return metav1.Status{} }}
	for want, pod := range map[string]*corev1.Pod{
		`"gracePeriodSeconds":90`: makePod("a", app("db")), `"gracePeriodSeconds":7`: makePod("a"),
	} {
		p, _ := s.plugin(t, bound(t, written))
		s.bodies = nil
		if _, err := newDrain(p, target(), []*corev1.Pod{pod}).advance(t.Context(), ready(corev1.ConditionTrue), []*corev1.Pod{pod}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(s.bodies[0], want) {
			t.Errorf("sent %s, want %s", s.bodies[0], want)
		}
	}
}

func TestFaultsInRules(t *testing.T) {
	_, faults := Descriptor(nil, clock.RealClock{}, nil).Bind([]byte(`{"daemonSets":"evict","rules":[
		{"action":"drop","namespaces":["Shop"]},
		{"action":"skip"},
		{"action":"skip","namespaces":["shop"],"order":1,"gracePeriodSeconds":3},
		{"action":"last","order":2},
		{"gracePeriodSeconds":0},
		{"action":"rolloutRestart","gracePeriodSeconds":3},
		{"selector":{"matchExpressions":[{"key":"a","operator":"Is"}]}}]}`))
	all := errors.Join(faults...).Error()
	for _, want := range []string{
		`daemonSets: is "evict", must be leave or evictLast`,
		`rules[0].namespaces: "Shop" is not a namespace name`,
		`rules[0].action: is "drop", must be evict, skip, waitCompleted, last, or rolloutRestart`,
		`rules[1]: skips all Pods: set namespaces or a selector`,
		`rules[2].order: has no effect with action skip`,
		`rules[2].gracePeriodSeconds: has no effect with action skip`,
		`rules[3].order: has no effect with action last`,
		`rules[4].gracePeriodSeconds: must be at least 1`,
		`rules[5].gracePeriodSeconds: has no effect with action rolloutRestart`,
		`rules[6].selector: "Is" is not a valid label selector operator`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in\n%s", want, all)
		}
	}
	if len(faults) != 10 {
		t.Errorf("%d faults: %s", len(faults), all)
	}
	_, faults = Descriptor(nil, clock.RealClock{}, nil).Bind([]byte(`{"rules":[{"labels":{"app":"a"}}]}`))
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), `unknown field "rules[0].labels"`) {
		t.Errorf("faults are %v", faults)
	}
}

func TestRemainingPodNamesItsRule(t *testing.T) {
	p, _ := (&stub{}).plugin(t, bound(t, written))
	pod := makePod("a", func(pod *corev1.Pod) { pod.Namespace = "batch" })
	left, err := newDrain(p, target(), nil).advance(t.Context(), ready(corev1.ConditionTrue), []*corev1.Pod{pod})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := newDrain(p, target(), nil).describe(left), "1 pod remaining: batch/a (waiting for it to complete, rules[1])"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}
