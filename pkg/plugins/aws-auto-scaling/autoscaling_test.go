package awsautoscaling

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// group is what EC2 Auto Scaling does with the instances of one group. It refuses what AWS refuses: to complete a hook that
// does not wait, to detach an instance that is neither InService nor Standby
// (https://github.com/reproio/ecs_deploy/issues/84), and to become smaller than its minimum
// (https://github.com/buildkite/elastic-ci-stack-for-aws/issues/1261).
type group struct {
	mutex   sync.Mutex
	states  map[string]string
	desired int
	minimum int
	// hooks are the lifecycle hooks, and waits those that wait for an instance.
	hooks []string
	waits map[string][]string
	// slow keeps an instance in its state for this many reads after a request.
	slow  map[string]int
	lag   int
	next  map[string]string
	calls []string
	// err is the answer to each request, once to the next one that changes something.
	err, once error
	// throttled is how many reads AWS refuses after a change.
	throttled int
	// waiting, if there is one, is closed by the next read, which then hangs.
	waiting chan struct{}
}

func newGroup(states ...string) *group {
	g := &group{states: map[string]string{}, waits: map[string][]string{}, slow: map[string]int{}, next: map[string]string{}, desired: 3, hooks: []string{"drain"}}
	for i, state := range states {
		g.put(fmt.Sprintf("i-%c", 'a'+i), state)
	}
	return g
}

func (g *group) put(id, state string) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.states[id] = state
	delete(g.slow, id)
	delete(g.next, id)
	if state == waiting {
		g.waits[id] = slices.Clone(g.hooks)
	}
}

func (g *group) Membership(ctx context.Context, instance ec2node.Instance) (Membership, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.waiting != nil {
		close(g.waiting)
		g.waiting = nil
		<-ctx.Done()
		return Membership{}, ctx.Err()
	}
	if g.throttled > 0 && len(g.calls) > 0 {
		g.throttled--
		return Membership{}, cleanup.RetryAfter(errors.New("Throttling: Rate exceeded"), 7*time.Second)
	}
	if g.err != nil {
		return Membership{}, g.err
	}
	if instance.Region != "eu-west-1" {
		return Membership{}, errors.New("wrong region " + instance.Region)
	}
	state, has := g.states[instance.ID]
	if !has {
		return Membership{}, ErrNotFound
	}
	if after, changes := g.next[instance.ID]; changes {
		if g.slow[instance.ID]--; g.slow[instance.ID] < 0 {
			g.change(instance.ID, after)
		}
	}
	return Membership{Group: "workers", State: state}, nil
}

// change sets a state that the next reads see; absent removes the instance.
func (g *group) change(id, state string) {
	if state == absent {
		delete(g.states, id)
		delete(g.next, id)
		return
	}
	g.states[id] = state
	g.next[id] = absent
	if state == waiting || state == retained {
		delete(g.next, id)
	}
}

func (g *group) TerminationHooks(_ context.Context, region, name string) ([]string, error) {
	if region != "eu-west-1" || name != "workers" {
		return nil, errors.New("no such group")
	}
	return g.hooks, nil
}

func (g *group) begin(call string) error {
	if g.err != nil {
		return g.err
	}
	if once := g.once; once != nil {
		g.once = nil
		return once
	}
	g.calls = append(g.calls, call)
	return nil
}

func (g *group) Complete(_ context.Context, instance ec2node.Instance, name, hook string) error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if !slices.Contains(g.waits[instance.ID], hook) || name != "workers" {
		return ErrNoAction
	}
	if err := g.begin("complete " + hook + " " + instance.ID); err != nil {
		return err
	}
	g.waits[instance.ID] = slices.DeleteFunc(g.waits[instance.ID], func(one string) bool { return one == hook })
	if len(g.waits[instance.ID]) == 0 {
		g.change(instance.ID, "Terminating:Proceed")
	}
	return nil
}

func (g *group) shrink(decrement bool) error {
	if !decrement {
		return nil
	}
	if g.desired == g.minimum {
		return cleanup.Permanent(fmt.Errorf("ValidationError: Currently, desiredSize equals minSize (%d)", g.minimum))
	}
	g.desired--
	return nil
}

func (g *group) Detach(_ context.Context, instance ec2node.Instance, name string, decrement bool) error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if state := g.states[instance.ID]; state != inService && state != standby || name != "workers" || g.next[instance.ID] == detaching {
		return cleanup.Permanent(fmt.Errorf("ValidationError: The instance %s is not in InService or Standby.", instance.ID))
	}
	if err := g.begin(fmt.Sprintf("detach %s %t", instance.ID, decrement)); err != nil {
		return err
	}
	if err := g.shrink(decrement); err != nil {
		return err
	}
	g.next[instance.ID], g.slow[instance.ID] = detaching, g.lag
	return nil
}

func (g *group) Terminate(_ context.Context, instance ec2node.Instance, decrement bool) error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if err := g.begin(fmt.Sprintf("terminate %s %t", instance.ID, decrement)); err != nil {
		return err
	}
	if err := g.shrink(decrement); err != nil {
		return err
	}
	g.next[instance.ID], g.slow[instance.ID] = terminating, g.lag
	return nil
}

func instance(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///eu-west-1a/i-" + name},
	}
}

// said receives the progress of a step.
type said struct{ last string }

func targetOf(node *corev1.Node, say *said) cleanup.Target {
	return cleanup.Target{Node: node, Step: "group", Attempt: 1, Log: slog.New(slog.DiscardHandler), Progress: func(text string) { say.last = text }}
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

func bind(t *testing.T, api API, node *corev1.Node, clock clock.WithTicker, options string) cleanup.Plugin {
	t.Helper()
	client := fake.NewClientset()
	if node != nil {
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

const (
	completes  = `{"action":"CompleteLifecycle","hook":"drain"}`
	detaches   = `{"action":"Detach","decrement":true}`
	terminates = `{"action":"Terminate","decrement":true}`
)

// waits returns the options with wait.
func waits(options string) string { return strings.TrimSuffix(options, "}") + `,"wait":true}` }

func TestAnActionIsDoneOnce(t *testing.T) {
	for name, test := range map[string]struct {
		options, state string
		calls          []string
		// left is the state after the step.
		left string
	}{
		"complete":                  {completes, waiting, []string{"complete drain i-a"}, "Terminating:Proceed"},
		"complete and wait":         {waits(completes), waiting, []string{"complete drain i-a"}, absent},
		"nothing waits":             {completes, inService, nil, inService},
		"detach":                    {detaches, inService, []string{"detach i-a true"}, inService},
		"detach and wait":           {waits(detaches), standby, []string{"detach i-a true"}, absent},
		"detach with a replacement": {`{"action":"Detach","decrement":false}`, inService, []string{"detach i-a false"}, inService},
		"terminate":                 {terminates, inService, []string{"terminate i-a true"}, inService},
		"terminate and wait":        {waits(terminates), inService, []string{"terminate i-a true"}, absent},
		"terminates already":        {terminates, waiting, nil, waiting},
	} {
		service, node := newGroup(test.state, inService), instance("a")
		service.lag = 2 // A second request while the group still reports the old state would make it smaller twice.
		plugin := bind(t, service, node, newInstant(), test.options)
		target := targetOf(node, &said{})
		if err := plugin.Cleanup(t.Context(), target); err != nil || !slices.Equal(service.calls, test.calls) || service.states["i-a"] != test.left {
			t.Errorf("%s: %v, the calls are %q, and the instance is %q", name, err, service.calls, service.states["i-a"])
		}
		if service.states["i-b"] != inService {
			t.Errorf("%s: the other instance is %s", name, service.states["i-b"])
		}
		delete(service.states, "i-a")
		if err := plugin.Cleanup(t.Context(), target); err != nil || !slices.Equal(service.calls, test.calls) {
			t.Errorf("%s: after it left the group: %v, %q", name, err, service.calls)
		}
	}
}

func TestTheStepSaysThatNothingWaits(t *testing.T) {
	say, node := &said{}, instance("a")
	if err := bind(t, newGroup(inService), node, newInstant(), completes).Cleanup(t.Context(), targetOf(node, say)); err != nil || !strings.Contains(say.last, "no lifecycle action waits, because the instance is InService") {
		t.Errorf("%q, %v", say.last, err)
	}
}

// With a second hook, the instance waits after the first one is completed. A restart must not mistake that for its own.
func TestAnotherHookCanStillWait(t *testing.T) {
	for name, recorded := range map[string]bool{"recorded": true, "killed before the record": false} {
		service, node := newGroup(), instance("a")
		service.hooks = []string{"drain", "backup"}
		service.put("i-a", waiting)
		outputs := map[string]string{}
		target := targetOf(node, &said{})
		target.Recorded = func(name, value string) error { outputs[name] = value; return nil }
		plugin := bind(t, service, node, newInstant(), completes)
		if err := plugin.Cleanup(t.Context(), target); err != nil || outputs[completedHook] != "drain" {
			t.Fatalf("%v, %v", outputs, err)
		}
		if recorded {
			target.Outputs = map[string]map[string]string{"group": {completedHook: "drain"}}
		}
		if err := plugin.Cleanup(t.Context(), target); err != nil || !slices.Equal(service.calls, []string{"complete drain i-a"}) {
			t.Errorf("%s: %q, %v", name, service.calls, err)
		}
		undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), target)
		if err != nil || (undone == "") != recorded {
			t.Errorf("%s: %q, %v", name, undone, err)
		}
	}
}

func TestAWrongHookIsPermanent(t *testing.T) {
	service, node := newGroup(waiting), instance("a")
	plugin := bind(t, service, node, newInstant(), `{"action":"CompleteLifecycle","hook":"drian"}`)
	const want = `group workers has no termination lifecycle hook "drian", only ["drain"]`
	if err := plugin.Cleanup(t.Context(), targetOf(node, &said{})); !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), targetOf(node, nil))
	if err != nil || effects[1].Blocked == nil || effects[1].Blocked.Message != want {
		t.Errorf("%+v, %v", effects, err)
	}
}

func TestOnlyTerminateEndsARetainedInstance(t *testing.T) {
	service, node := newGroup(retained), instance("a")
	plugin := bind(t, service, node, newInstant(), completes)
	if err := plugin.Cleanup(t.Context(), targetOf(node, &said{})); !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "terminate-instance-in-auto-scaling-group") {
		t.Errorf("%v", err)
	}
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), targetOf(node, nil))
	if err != nil || effects[1].Blocked == nil {
		t.Errorf("%+v, %v", effects, err)
	}
	// It does not count toward the desired capacity, which must not become smaller.
	if err := bind(t, service, node, newInstant(), waits(terminates)).Cleanup(t.Context(), targetOf(node, &said{})); err != nil || service.desired != 3 || !slices.Equal(service.calls, []string{"terminate i-a false"}) {
		t.Errorf("the calls are %q, the desired capacity %d, %v", service.calls, service.desired, err)
	}
}

// The group retains the instance after the request, because its hook is abandoned.
func TestAnInstanceThatIsRetainedDuringTheWaitIsTerminatedAgain(t *testing.T) {
	service, node := newGroup(inService), instance("a")
	lives := &retainsOnce{group: service}
	if err := bind(t, lives, node, newInstant(), waits(terminates)).Cleanup(t.Context(), targetOf(node, &said{})); err != nil || service.desired != 2 || !slices.Equal(service.calls, []string{"terminate i-a true", "terminate i-a false"}) {
		t.Errorf("the calls are %q, the desired capacity %d, %v", service.calls, service.desired, err)
	}
}

// retainsOnce is a group that retains an instance after the first termination.
type retainsOnce struct {
	*group
	done bool
}

func (r *retainsOnce) Terminate(ctx context.Context, instance ec2node.Instance, decrement bool) error {
	err := r.group.Terminate(ctx, instance, decrement)
	if !r.done {
		r.done = true
		r.put(instance.ID, retained)
	}
	return err
}

func TestAnInvalidRequestIsPermanentUnlessTheStateHasChanged(t *testing.T) {
	for _, options := range []string{detaches, terminates} {
		service, node := newGroup(inService), instance("a")
		service.minimum = 3
		if err := bind(t, service, node, newInstant(), options).Cleanup(t.Context(), targetOf(node, &said{})); !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "desiredSize equals minSize (3)") || len(service.calls) != 1 {
			t.Errorf("%s: %q, %v", options, service.calls, err)
		}
	}
	// The group begins to terminate the instance between the read and the request.
	service, node, say := newGroup(inService), instance("a"), &said{}
	late := &changesLate{group: service}
	if err := bind(t, late, node, newInstant(), detaches).Cleanup(t.Context(), targetOf(node, say)); err != nil || !strings.Contains(say.last, "cannot be detached") {
		t.Errorf("%q, %v", say.last, err)
	}
}

// changesLate is a group that terminates an instance as soon as it was read.
type changesLate struct{ *group }

func (c *changesLate) Detach(ctx context.Context, instance ec2node.Instance, name string, decrement bool) error {
	c.put(instance.ID, waiting)
	return c.group.Detach(ctx, instance, name, decrement)
}

func TestANodeOfTheSameNameKeepsItsInstance(t *testing.T) {
	for _, options := range []string{completes, detaches, terminates} {
		service, node := newGroup(waiting), instance("a")
		if options != completes {
			service.put("i-a", inService)
		}
		current := node.DeepCopy()
		current.UID = "new"
		if err := bind(t, service, current, newInstant(), options).Cleanup(t.Context(), targetOf(node, &said{})); !cleanup.IsPermanent(err) || len(service.calls) > 0 {
			t.Errorf("%s: %q, %v", options, service.calls, err)
		}
	}
}

// The group can begin to terminate the instance of a Node that was cleaned up before.
func TestVerifyFindsALifecycleActionThatWaits(t *testing.T) {
	service, node := newGroup(inService), instance("a")
	verifier := bind(t, service, node, newInstant(), completes).(cleanup.Verifier)
	for state, undone := range map[string]bool{inService: false, terminating: true, waiting: true, "Terminating:Proceed": false, retained: true} {
		service.put("i-a", state)
		if got, err := verifier.Verify(t.Context(), targetOf(node, nil)); err != nil || (got != "") != undone {
			t.Errorf("%s: %q, %v", state, got, err)
		}
	}
	service.put("i-a", "Terminating:Proceed")
	if got, err := bind(t, service, node, nil, waits(completes)).(cleanup.Verifier).Verify(t.Context(), targetOf(node, nil)); err != nil || got != "instance i-a is Terminating:Proceed in group workers" {
		t.Errorf("with wait: %q, %v", got, err)
	}
	for _, options := range []string{detaches, terminates} {
		service.put("i-a", inService)
		if got, err := bind(t, service, node, nil, options).(cleanup.Verifier).Verify(t.Context(), targetOf(node, nil)); err != nil || got != "instance i-a is InService in group workers" {
			t.Errorf("%s: %q, %v", options, got, err)
		}
	}
}

// AWS limits the rate of an account, so many Nodes at once exceed it together. That is no failure of the step, whose
// retries would soon be used up.
func TestTheStepWaitsWhileAWSLimitsTheRate(t *testing.T) {
	service, node, clock := newGroup(inService), instance("a"), newInstant()
	service.throttled = 20
	if err := bind(t, service, node, clock, waits(terminates)).Cleanup(t.Context(), targetOf(node, &said{})); err != nil || len(service.calls) != 1 {
		t.Errorf("%q, %v", service.calls, err)
	}
	if len(clock.waits) < 21 || clock.waits[1] != 7*time.Second || clock.waits[20] != 7*time.Second {
		t.Errorf("waited %v, AWS asks for 7s", clock.waits)
	}
}

func TestThePreviewOfTheCLINamesTheSameEffectsForTheHash(t *testing.T) {
	node := instance("a")
	for options, want := range map[string]string{
		completes:  "lifecycle hook drain of its Auto Scaling group",
		detaches:   "the desired capacity of its Auto Scaling group becomes smaller by one",
		terminates: "the desired capacity of its Auto Scaling group becomes smaller by one",
		`{"action":"Terminate","decrement":false}`: "its Auto Scaling group launches a replacement",
	} {
		state := inService
		if options == completes {
			state = waiting
		}
		byAgent, err := bind(t, newGroup(state), node, nil, options).(cleanup.Previewer).Preview(t.Context(), targetOf(node, nil))
		if err != nil {
			t.Fatal(err)
		}
		cli, faults := Descriptor(nil, nil, nil).Bind([]byte(options))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		byCLI, err := cli.(cleanup.Previewer).Preview(t.Context(), targetOf(node, nil))
		if err != nil || len(byCLI) != 1 || len(byAgent) != 2 || byAgent[0] != byCLI[0] || byCLI[0].Reason != want ||
			byAgent[1].ReportedBy == "" || byAgent[1].Reason != "now "+state+" in group workers" || byAgent[1].Action != byCLI[0].Action {
			t.Errorf("%s: the agent says %+v, the CLI %+v, %v", options, byAgent, byCLI, err)
		}
	}
	effects, err := bind(t, newGroup(inService), node, nil, completes).(cleanup.Previewer).Preview(t.Context(), targetOf(node, nil))
	if err != nil || effects[1].Action != cleanup.Skip || !strings.Contains(effects[1].Reason, "InService") {
		t.Errorf("%+v, %v", effects, err)
	}
}

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{
		`{}`:                             `action: must be one of CompleteLifecycle, Detach, Terminate, not ""`,
		`{"action":"Detach"}`:            `decrement: is required for action Detach`,
		`{"action":"Terminate"}`:         `decrement: is required for action Terminate`,
		`{"action":"CompleteLifecycle"}`: `hook: is required for action CompleteLifecycle`,
		`{"action":"CompleteLifecycle","hook":"drain","decrement":false}`: `decrement: has no effect with action CompleteLifecycle`,
		`{"action":"Detach","decrement":false,"hook":"drain"}`:            `hook: has no effect with action Detach`,
	} {
		_, faults := Descriptor(nil, nil, nil).Bind([]byte(options))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

func TestConformance(t *testing.T) {
	for name, test := range map[string]struct{ options, state string }{
		actionComplete:  {waits(completes), waiting},
		actionDetach:    {waits(detaches), inService},
		actionTerminate: {waits(terminates), inService},
	} {
		t.Run(name, func(t *testing.T) { conforms(t, test.options, test.state) })
	}
}

func conforms(t *testing.T, options, state string) {
	service := newGroup()
	service.desired = 100
	client := fake.NewClientset()
	fail := func(t *testing.T, err error) {
		service.err = err
		t.Cleanup(func() { service.err = nil })
	}
	plugintest.Run(t, plugintest.Suite{
		Descriptor: Descriptor(service, client, newInstant()),
		Options:    options,
		Node: func(t *testing.T, name string) *corev1.Node {
			node := instance(name)
			if err := client.Tracker().Add(node.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			service.put("i-"+name, state)
			return node
		},
		Exempt: func(_ *testing.T, name string) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{ProviderID: "aws:///eu-west-1a/fargate-" + name}}
		},
		Effects: func(*testing.T) int {
			service.mutex.Lock()
			defer service.mutex.Unlock()
			return len(service.calls)
		},
		Hang: func(*testing.T, *corev1.Node) <-chan struct{} {
			service.mutex.Lock()
			defer service.mutex.Unlock()
			service.waiting = make(chan struct{})
			return service.waiting
		},
		Undo:      func(_ *testing.T, node *corev1.Node) { service.put("i-"+node.Name, state) },
		Break:     func(t *testing.T) { fail(t, errors.New("connection refused")) },
		Refuse:    func(t *testing.T) { fail(t, cleanup.Permanent(errors.New("AccessDenied: no"))) },
		Unhealthy: func(t *testing.T) { fail(t, cleanup.Permanent(errors.New("AccessDenied: no"))) },
		Throttle: func(t *testing.T) time.Duration {
			fail(t, cleanup.RetryAfter(errors.New("Throttling: no"), 7*time.Second))
			return 7 * time.Second
		},
	})
}
