package awstargetgroups

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const (
	web = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef"
	api = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/api/fedcba9876543210"
)

// elb is what AWS does with target groups: a deregistered target is draining, and then no longer listed; a
// target is identified by its ID and port; deregistration of a target that is not registered is no error
// (https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html).
type elb struct {
	mutex  sync.Mutex
	groups map[string][]Target
	// drains makes draining targets disappear when they are listed.
	drains  bool
	err     error
	changes int
	// throttled is how many lists of targets AWS refuses after a target was deregistered.
	throttled int
	// waiting, if there is one, is closed by the next list of targets, which then hangs.
	waiting chan struct{}
}

func (e *elb) Targets(ctx context.Context, group string) ([]Target, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.waiting != nil {
		close(e.waiting)
		e.waiting = nil
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if e.throttled > 0 && e.changes > 0 {
		e.throttled--
		return nil, cleanup.RetryAfter(errors.New("Throttling: Rate exceeded"), 7*time.Second)
	}
	if e.err != nil {
		return nil, e.err
	}
	targets, found := e.groups[group]
	if !found {
		return nil, ErrNotFound
	}
	listed := slices.Clone(targets)
	if e.drains {
		e.groups[group] = slices.DeleteFunc(slices.Clone(targets), func(target Target) bool { return target.State == StateDraining })
	}
	return listed, nil
}

func (e *elb) Deregister(_ context.Context, group string, targets []Target) error {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	registered, found := e.groups[group]
	if !found {
		return ErrNotFound
	}
	for _, target := range targets {
		for i, one := range registered {
			if one.ID == target.ID && one.Port == target.Port && one.AvailabilityZone == target.AvailabilityZone {
				registered[i].State = StateDraining
				e.changes++
			}
		}
	}
	return nil
}

func (e *elb) register(group, id string, port int32) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.groups[group] = append(e.groups[group], Target{ID: id, Port: port, State: "healthy"})
}

func instance(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///eu-west-1a/i-" + name},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeHostName, Address: "host-of-" + name},
		}},
	}
}

func targetOf(node *corev1.Node) cleanup.Target {
	return cleanup.Target{Node: node, Step: "lb", Attempt: 1, Log: slog.New(slog.DiscardHandler), Progress: func(string) {}}
}

// instant is a clock whose timers fire at once, and count.
type instant struct {
	*testingclock.FakeClock
	mutex sync.Mutex
	waits []time.Duration
}

func (i *instant) NewTimer(wait time.Duration) clock.Timer {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.waits = append(i.waits, wait)
	timer := i.FakeClock.NewTimer(wait)
	i.Step(wait)
	return timer
}

func newInstant() *instant { return &instant{FakeClock: testingclock.NewFakeClock(time.Now())} }

func bind(t *testing.T, api API, nodes []*corev1.Node, clock clock.WithTicker, options string) cleanup.Plugin {
	t.Helper()
	client := fake.NewClientset()
	for _, node := range nodes {
		if err := client.Tracker().Add(node); err != nil {
			t.Fatal(err)
		}
	}
	plugin, faults := Descriptor(api, client, clock).Bind([]byte(options))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

func TestExactlyTheTargetsOfTheNodeAreDeregistered(t *testing.T) {
	service := &elb{drains: true, groups: map[string][]Target{
		web: {{ID: "i-a", Port: 80, State: "healthy"}, {ID: "i-a", Port: 8080, State: "unhealthy"}, {ID: "i-b", Port: 80, State: "healthy"}},
		api: {{ID: "10.0.0.1", Port: 443, AvailabilityZone: "all", State: "healthy"}, {ID: "10.0.0.2", Port: 443, State: "healthy"}},
	}}
	node := instance("a")
	both := `{"targetGroups":["` + web + `","` + api + `"],"exclude":false`
	// A kubelet can report any address, so addresses count on request only.
	byInstance := &elb{drains: true, groups: map[string][]Target{web: nil, api: slices.Clone(service.groups[api])}}
	if err := bind(t, byInstance, nil, newInstant(), both+`}`).Cleanup(t.Context(), targetOf(node)); err != nil || byInstance.changes != 0 {
		t.Errorf("%d targets were deregistered by their address, %v", byInstance.changes, err)
	}
	plugin := bind(t, service, []*corev1.Node{node}, newInstant(), both+`,"byAddress":true}`)
	if err := plugin.Cleanup(t.Context(), targetOf(node)); err != nil {
		t.Fatal(err)
	}
	if left := append(slices.Clone(service.groups[web]), service.groups[api]...); len(left) != 2 || left[0].ID != "i-b" || left[1].ID != "10.0.0.2" {
		t.Errorf("left are %+v", left)
	}
	if service.changes != 3 {
		t.Errorf("%d targets were deregistered", service.changes)
	}
}

func TestATargetGroupThatDoesNotExistIsDoneButUnhealthy(t *testing.T) {
	node := instance("a")
	plugin := bind(t, &elb{groups: map[string][]Target{}}, nil, newInstant(), `{"targetGroups":["`+web+`"],"exclude":false}`)
	if err := plugin.Cleanup(t.Context(), targetOf(node)); err != nil {
		t.Error(err)
	}
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), targetOf(node)); undone != "" || err != nil {
		t.Errorf("%q, %v", undone, err)
	}
	if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("the health is %v", err)
	}
}

func TestTheSettleTimeContinuesAfterARestart(t *testing.T) {
	node := instance("a")
	service := &elb{drains: true, groups: map[string][]Target{web: nil}}
	recorded := ""
	now := newInstant()
	start := now.Now()
	plugin := bind(t, service, nil, now, `{"targetGroups":["`+web+`"],"exclude":false,"settle":"2m"}`)
	target := targetOf(node)
	target.Recorded = func(_, value string) error { recorded = value; return nil }
	if err := plugin.Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(now.waits, []time.Duration{2 * time.Minute}) || recorded != start.UTC().Format(time.RFC3339) {
		t.Errorf("waited %v, recorded %s", now.waits, recorded)
	}
	// The agent was restarted after 30 seconds of the wait.
	now = newInstant()
	target.Outputs = map[string]map[string]string{"lb": {drainedAt: now.Now().Add(-30 * time.Second).UTC().Format(time.RFC3339)}}
	plugin = bind(t, service, nil, now, `{"targetGroups":["`+web+`"],"exclude":false,"settle":"2m"}`)
	if err := plugin.Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if len(now.waits) != 1 || now.waits[0] < 89*time.Second || now.waits[0] > 91*time.Second {
		t.Errorf("after the restart it waited %v", now.waits)
	}
	// Another agent with a clock a day ahead has recorded the time.
	now = newInstant()
	target.Outputs = map[string]map[string]string{"lb": {drainedAt: now.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)}}
	plugin = bind(t, service, nil, now, `{"targetGroups":["`+web+`"],"exclude":false,"settle":"2m"}`)
	if err := plugin.Cleanup(t.Context(), target); err != nil || !slices.Equal(now.waits, []time.Duration{2 * time.Minute}) {
		t.Errorf("with a time in the future it waited %v, %v", now.waits, err)
	}
	// A target that was registered again begins the wait again.
	service.register(web, "i-a", 80)
	now = newInstant()
	plugin = bind(t, service, nil, now, `{"targetGroups":["`+web+`"],"exclude":false,"settle":"2m"}`)
	if err := plugin.Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if last := now.waits[len(now.waits)-1]; last != 2*time.Minute {
		t.Errorf("after the second drain it waited %v", now.waits)
	}
}

// AWS limits the rate of an account, so many Nodes at once exceed it together. That is no failure of the step, whose
// retries would soon be used up.
func TestTheStepWaitsWhileAWSLimitsTheRate(t *testing.T) {
	node := instance("a")
	service := &elb{drains: true, throttled: 20, groups: map[string][]Target{web: {{ID: "i-a", Port: 80, State: "healthy"}}}}
	clock := newInstant()
	plugin := bind(t, service, nil, clock, `{"targetGroups":["`+web+`"],"exclude":false}`)
	if err := plugin.Cleanup(t.Context(), targetOf(node)); err != nil || service.changes != 1 {
		t.Errorf("%d targets were deregistered, %v", service.changes, err)
	}
	if len(clock.waits) != 22 || clock.waits[1] != 7*time.Second {
		t.Errorf("waited %v, AWS asks for 7s", clock.waits)
	}
}

func TestTheNodeIsExcludedUntilTheCleanupIsWithdrawn(t *testing.T) {
	node, foreign := instance("a"), instance("b")
	foreign.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: "true"}
	client := fake.NewClientset(node, foreign)
	plugin, faults := Descriptor(&elb{groups: map[string][]Target{web: nil}}, client, newInstant()).Bind([]byte(`{"targetGroups":["` + web + `"]}`))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	label := func(node *corev1.Node) string {
		t.Helper()
		current, err := client.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return current.Labels[corev1.LabelNodeExcludeBalancers]
	}
	for _, one := range []*corev1.Node{node, foreign} {
		if err := plugin.Cleanup(t.Context(), targetOf(one)); err != nil {
			t.Fatal(err)
		}
	}
	if label(node) != excludedBy || label(foreign) != "true" {
		t.Errorf("after the cleanup: %q, %q", label(node), label(foreign))
	}
	for _, one := range []*corev1.Node{node, foreign} {
		if err := plugin.(cleanup.Withdrawer).Withdraw(t.Context(), targetOf(one)); err != nil {
			t.Fatal(err)
		}
	}
	if label(node) != "" || label(foreign) != "true" {
		t.Errorf("after the withdrawal: %q, %q", label(node), label(foreign))
	}
}

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{
		`{}`:                       "targetGroups: must not be empty",
		`{"targetGroups":["web"]}`: "targetGroups[0]: must be the ARN of a target group",
		`{"targetGroups":["` + web + `","` + web + `"]}`: "targetGroups[1]: is listed twice",
		`{"targetGroups":["` + web + `"],"settle":"1h"}`: "settle: must be from 0s to 15m0s, not 1h0m0s",
	} {
		_, faults := Descriptor(nil, nil, nil).Bind([]byte(options))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
	if region := Region(web); region != "eu-west-1" {
		t.Errorf("the region is %q", region)
	}
}

func TestThePreviewOfTheCLINamesTheSameEffectsForTheHash(t *testing.T) {
	node := instance("a")
	service := &elb{groups: map[string][]Target{web: {{ID: "i-a", Port: 80, State: "healthy"}}}}
	options := `{"targetGroups":["` + web + `","` + api + `"]}`
	byAgent, err := bind(t, service, nil, nil, options).(cleanup.Previewer).Preview(t.Context(), targetOf(node))
	if err != nil {
		t.Fatal(err)
	}
	byCLI, err := bind(t, nil, nil, nil, options).(cleanup.Previewer).Preview(t.Context(), targetOf(node))
	if err != nil {
		t.Fatal(err)
	}
	reported := 0
	for i, effect := range byAgent {
		if effect.ReportedBy != "" {
			reported++
		} else if effect != byCLI[i-reported] {
			t.Errorf("the agent says %+v, the CLI %+v", effect, byCLI[i-reported])
		}
	}
	if reported != 2 || len(byCLI) != 3 {
		t.Errorf("the agent says %+v, the CLI %+v", byAgent, byCLI)
	}
}

func TestConformance(t *testing.T) {
	service := &elb{drains: true, groups: map[string][]Target{web: nil}}
	client := fake.NewClientset()
	fail := func(t *testing.T, err error) {
		service.err = err
		t.Cleanup(func() { service.err = nil })
	}
	plugintest.Run(t, plugintest.Suite{
		Descriptor: Descriptor(service, client, newInstant()),
		Options:    `{"targetGroups":["` + web + `"],"settle":"1m"}`,
		Node: func(t *testing.T, name string) *corev1.Node {
			node := instance(name)
			if err := client.Tracker().Add(node.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			service.register(web, "i-"+name, 80)
			return node
		},
		Exempt: func(_ *testing.T, name string) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{ProviderID: "aws:///eu-west-1a/fargate-" + name}}
		},
		Effects: func(*testing.T) int {
			service.mutex.Lock()
			defer service.mutex.Unlock()
			return service.changes
		},
		Hang: func(*testing.T, *corev1.Node) <-chan struct{} {
			service.mutex.Lock()
			defer service.mutex.Unlock()
			service.waiting = make(chan struct{})
			return service.waiting
		},
		Undo:      func(_ *testing.T, node *corev1.Node) { service.register(web, "i-"+node.Name, 80) },
		Break:     func(t *testing.T) { fail(t, errors.New("connection refused")) },
		Refuse:    func(t *testing.T) { fail(t, cleanup.Permanent(errors.New("invalid"))) },
		Unhealthy: func(t *testing.T) { fail(t, ErrNotFound) },
		Throttle: func(t *testing.T) time.Duration {
			fail(t, cleanup.RetryAfter(errors.New("rate exceeded"), 7*time.Second))
			return 7 * time.Second
		},
	})
}
