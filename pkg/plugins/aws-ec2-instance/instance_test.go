package awsec2instance

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
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// ec2 is what EC2 does with instances: a terminated one shuts down first, stays visible, and is forgotten later; to
// terminate it again is no error (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html).
type ec2 struct {
	mutex     sync.Mutex
	instances map[string]Description
	protected map[string]bool
	// stays keeps instances in state shutting-down.
	stays bool
	// err is the answer to each request, deniedErr that to each termination, also with DryRun.
	err, deniedErr error
	requests       int
	changes        int
	dryRuns        []string
	// throttled is how many descriptions AWS refuses after a termination.
	throttled int
	// waiting, if there is one, is closed by the next description, which then hangs.
	waiting chan struct{}
}

func (e *ec2) Describe(ctx context.Context, instance ec2node.Instance) (Description, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.requests++
	if instance.Region != "eu-west-1" {
		return Description{}, errors.New("wrong region " + instance.Region)
	}
	if e.waiting != nil {
		close(e.waiting)
		e.waiting = nil
		<-ctx.Done()
		return Description{}, ctx.Err()
	}
	if e.throttled > 0 && e.changes > 0 {
		e.throttled--
		return Description{}, cleanup.RetryAfter(errors.New("RequestLimitExceeded: Request limit exceeded."), 7*time.Second)
	}
	if e.err != nil {
		return Description{}, e.err
	}
	found, has := e.instances[instance.ID]
	if !has {
		return Description{}, ErrNotFound
	}
	if found.State == StateShuttingDown && !e.stays {
		after := found
		after.State, after.PrivateDNSName = StateTerminated, ""
		e.instances[instance.ID] = after
	}
	return found, nil
}

func (e *ec2) Terminate(_ context.Context, instance ec2node.Instance, dryRun bool) error {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.requests++
	found, has := e.instances[instance.ID]
	switch {
	case e.err != nil:
		return e.err
	case e.deniedErr != nil:
		return e.deniedErr
	case !has:
		return ErrNotFound
	case e.protected[instance.ID]:
		return ErrProtected
	}
	if dryRun {
		e.dryRuns = append(e.dryRuns, instance.ID)
		return nil
	}
	e.changes++
	found.State = StateShuttingDown
	e.instances[instance.ID] = found
	return nil
}

func (e *ec2) run(name string) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.instances["i-"+name] = Description{State: "running", PrivateDNSName: name, Tags: map[string]string{"kubernetes.io/cluster/prod": "owned"}}
}

func (e *ec2) state(id string) string {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.instances[id].State
}

func newEC2(names ...string) *ec2 {
	service := &ec2{instances: map[string]Description{}, protected: map[string]bool{}}
	for _, name := range names {
		service.run(name)
	}
	return service
}

func instance(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///eu-west-1a/i-" + name},
	}
}

func targetOf(node *corev1.Node) cleanup.Target {
	return cleanup.Target{Node: node, Step: "instance", Attempt: 1, Log: slog.New(slog.DiscardHandler), Progress: func(string) {}}
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

func TestTheInstanceIsTerminatedOnce(t *testing.T) {
	for options, want := range map[string]struct {
		state string
		waits int
	}{
		`{}`:             {StateTerminated, 2},
		`{"wait":false}`: {StateShuttingDown, 0},
	} {
		service, clock, node := newEC2("a", "b"), newInstant(), instance("a")
		plugin := bind(t, service, []*corev1.Node{node}, clock, options)
		for range 2 {
			if err := plugin.Cleanup(t.Context(), targetOf(node)); err != nil {
				t.Fatal(err)
			}
		}
		if service.changes != 1 || service.state("i-b") != "running" {
			t.Errorf("%s: %d terminations, and the other instance is %s", options, service.changes, service.state("i-b"))
		}
		if state := service.state("i-a"); options == `{}` && state != want.state || len(clock.waits) != want.waits {
			t.Errorf("%s: the instance is %s after %v", options, state, clock.waits)
		}
		delete(service.instances, "i-a") // EC2 has forgotten it.
		if err := plugin.Cleanup(t.Context(), targetOf(node)); err != nil {
			t.Errorf("%s: an instance that does not exist: %v", options, err)
		}
	}
}

func TestVerifyWaitsAsCleanupDoes(t *testing.T) {
	for options, done := range map[string]bool{`{}`: false, `{"wait":false}`: true} {
		service, node := newEC2("a"), instance("a")
		service.stays = true
		service.instances["i-a"] = Description{State: StateShuttingDown, PrivateDNSName: "a"}
		undone, err := bind(t, service, []*corev1.Node{node}, newInstant(), options).(cleanup.Verifier).Verify(t.Context(), targetOf(node))
		if err != nil || (undone == "") != done {
			t.Errorf("%s: %q, %v", options, undone, err)
		}
	}
}

// The instance of another Node is never terminated.
func TestARefusedInstanceIsNotTerminated(t *testing.T) {
	for name, test := range map[string]struct {
		options string
		current *corev1.Node
		found   Description
		want    string
	}{
		"the Node is a new one": {
			options: `{}`, current: func() *corev1.Node { n := instance("a"); n.UID = "new"; return n }(), found: Description{State: "running", PrivateDNSName: "a"},
			want: "the node a with UID uid-of-a no longer exists",
		},
		"the provider ID names the instance of another Node": {
			options: `{}`, found: Description{State: "running", PrivateDNSName: "b"},
			want: `its private DNS name is "b", and the name of the node "a" (option checkName)`,
		},
		"a tag is absent": {
			options: `{"tags":{"kubernetes.io/cluster/prod":"owned"}}`, found: Description{State: "running", PrivateDNSName: "a"},
			want: "it does not have the tag kubernetes.io/cluster/prod=owned (option tags)",
		},
		"a tag differs": {
			options: `{"tags":{"kubernetes.io/cluster/prod":"owned"}}`,
			found:   Description{State: "running", PrivateDNSName: "a", Tags: map[string]string{"kubernetes.io/cluster/prod": "shared"}},
			want:    "it does not have the tag kubernetes.io/cluster/prod=owned (option tags)",
		},
		"an empty tag is absent": {
			options: `{"tags":{"empty":""}}`, found: Description{State: "running", PrivateDNSName: "a"},
			want: "it does not have the tag empty= (option tags)",
		},
	} {
		service, node := newEC2(), instance("a")
		service.instances["i-a"] = test.found
		if test.current == nil {
			test.current = node
		}
		plugin := bind(t, service, []*corev1.Node{test.current}, newInstant(), test.options)
		err := plugin.Cleanup(t.Context(), targetOf(node))
		if !cleanup.IsPermanent(err) || err != nil && !strings.Contains(err.Error(), test.want) || service.changes != 0 {
			t.Errorf("%s: %d terminations, permanent %t, %v", name, service.changes, cleanup.IsPermanent(err), err)
		}
		if test.current != node {
			continue
		}
		effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), targetOf(node))
		if err != nil || effects[1].Blocked == nil || effects[1].Blocked.Message != test.want {
			t.Errorf("%s: the preview is %+v, %v", name, effects, err)
		}
	}
}

func TestTheNameOfTheNodeCanBeTheIDOrAnyIfNotChecked(t *testing.T) {
	for name, options := range map[string]string{"i-named": `{}`, "other": `{"checkName":false,"tags":{"k":"v"}}`} {
		service, node := newEC2(), instance("a")
		node.Name, node.Spec.ProviderID = name, "aws:///eu-west-1a/i-named"
		service.instances["i-named"] = Description{State: "running", PrivateDNSName: "ip-10-0-0-1.eu-west-1.compute.internal", Tags: map[string]string{"k": "v"}}
		if err := bind(t, service, []*corev1.Node{node}, newInstant(), options).Cleanup(t.Context(), targetOf(node)); err != nil || service.changes != 1 {
			t.Errorf("%s: %d terminations, %v", name, service.changes, err)
		}
	}
}

func TestTerminationProtectionIsPermanent(t *testing.T) {
	service, node := newEC2("a"), instance("a")
	service.protected["i-a"] = true
	plugin := bind(t, service, []*corev1.Node{node}, newInstant(), `{}`)
	err := plugin.Cleanup(t.Context(), targetOf(node))
	if !cleanup.IsPermanent(err) || !errors.Is(err, ErrProtected) || !strings.Contains(err.Error(), "DisableApiTermination") {
		t.Errorf("%v", err)
	}
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), targetOf(node))
	if err != nil || effects[1].Blocked == nil || effects[1].Blocked.Remedy != unprotect {
		t.Errorf("%+v, %v", effects, err)
	}
	// AWS allows the agent to terminate it: it is not the agent that lacks a permission.
	if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
		t.Errorf("the health is %v", err)
	}
}

func TestTheHealthCheckAsksWithDryRun(t *testing.T) {
	// Neither a Node without an instance, nor one that the step would refuse, proves something.
	nodes := []*corev1.Node{instance("forgotten"), instance("foreign"), instance("own"), {ObjectMeta: metav1.ObjectMeta{Name: "a-hybrid"}}}
	service := newEC2("own")
	service.instances["i-foreign"] = Description{State: "running", PrivateDNSName: "foreign"}
	plugin := bind(t, service, nodes, nil, `{"tags":{"kubernetes.io/cluster/prod":"owned"}}`)
	if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil || !slices.Equal(service.dryRuns, []string{"i-own"}) || service.changes != 0 {
		t.Errorf("dry runs %v, %d terminations, %v", service.dryRuns, service.changes, err)
	}
	service.deniedErr = cleanup.Permanent(errors.New("UnauthorizedOperation: no"))
	if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); err == nil || !strings.Contains(err.Error(), "UnauthorizedOperation") {
		t.Errorf("the health is %v", err)
	}
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), targetOf(nodes[2]))
	if err != nil || effects[1].Blocked == nil || !strings.Contains(effects[1].Blocked.Message, "UnauthorizedOperation") {
		t.Errorf("%+v, %v", effects, err)
	}
}

// With the credentials of another account, the step would find each instance terminated.
func TestAnAccountWithoutTheInstancesIsUnhealthy(t *testing.T) {
	nodes := []*corev1.Node{instance("a"), instance("b")}
	health := func(service *ec2) error {
		return bind(t, service, nodes, nil, `{}`).(cleanup.HealthChecker).CheckHealth(t.Context())
	}
	if err := health(newEC2()); err == nil || !strings.Contains(err.Error(), "EC2 knows none of the instances of 2 nodes") {
		t.Errorf("the health is %v", err)
	}
	if err := health(newEC2("b")); err != nil {
		t.Errorf("the health is %v", err)
	}
	if err := bind(t, newEC2(), nil, nil, `{}`).(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
		t.Errorf("without a Node, the health is %v", err)
	}
}

// AWS limits the rate of an account, so many Nodes at once exceed it together. That is no failure of the step, whose
// retries would soon be used up.
func TestTheStepWaitsWhileAWSLimitsTheRate(t *testing.T) {
	service, node, clock := newEC2("a"), instance("a"), newInstant()
	service.throttled = 20
	if err := bind(t, service, []*corev1.Node{node}, clock, `{}`).Cleanup(t.Context(), targetOf(node)); err != nil || service.changes != 1 {
		t.Errorf("%d terminations, %v", service.changes, err)
	}
	if len(clock.waits) != 22 || clock.waits[1] != 7*time.Second {
		t.Errorf("waited %v, AWS asks for 7s", clock.waits)
	}
}

func TestThePreviewOfTheCLINamesTheSameEffectsForTheHash(t *testing.T) {
	service, node := newEC2("a"), instance("a")
	byAgent, err := bind(t, service, []*corev1.Node{node}, nil, `{}`).(cleanup.Previewer).Preview(t.Context(), targetOf(node))
	if err != nil {
		t.Fatal(err)
	}
	cli, faults := Descriptor(nil, nil, nil).Bind([]byte(`{}`))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	byCLI, err := cli.(cleanup.Previewer).Preview(t.Context(), targetOf(node))
	if err != nil || len(byCLI) != 1 || len(byAgent) != 2 || byAgent[0] != byCLI[0] || byAgent[1].ReportedBy == "" || byAgent[1].Reason != "now running" {
		t.Errorf("the agent says %+v, the CLI %+v, %v", byAgent, byCLI, err)
	}
	for _, state := range []string{StateTerminated, StateShuttingDown, ""} {
		service.stays = true
		if service.instances["i-a"] = (Description{State: state}); state == "" {
			delete(service.instances, "i-a")
		}
		effects, err := bind(t, service, nil, nil, `{}`).(cleanup.Previewer).Preview(t.Context(), targetOf(node))
		if err != nil || effects[1].Action != cleanup.Skip {
			t.Errorf("for the state %q the effects are %+v, %v", state, effects, err)
		}
	}
}

func TestOptions(t *testing.T) {
	many := `{"tags":{"` + strings.Repeat("k", 129) + `":"v"}}`
	for options, want := range map[string]string{
		many:                `tags: must have keys of 1 to 128 characters`,
		`{"tags":{"":"v"}}`: `tags: must have keys of 1 to 128 characters, not ""`,
		`{"tags":{"k":"` + strings.Repeat("v", 257) + `"}}`: `tags: must have values of at most 256 characters, not the one of "k"`,
	} {
		_, faults := Descriptor(nil, nil, nil).Bind([]byte(options))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

func TestConformance(t *testing.T) {
	service := newEC2()
	client := fake.NewClientset()
	fail := func(t *testing.T, err error) {
		service.err = err
		t.Cleanup(func() { service.err = nil })
	}
	plugintest.Run(t, plugintest.Suite{
		Descriptor: Descriptor(service, client, newInstant()),
		Options:    `{"tags":{"kubernetes.io/cluster/prod":"owned"}}`,
		Node: func(t *testing.T, name string) *corev1.Node {
			node := instance(name)
			if err := client.Tracker().Add(node.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			service.run(name)
			return node
		},
		Exempt: func(_ *testing.T, name string) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{ProviderID: "eks-hybrid:///eu-west-1/prod/mi-" + name}}
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
		// A terminated instance does not run again; this one was not.
		Undo:      func(_ *testing.T, node *corev1.Node) { service.run(node.Name) },
		Break:     func(t *testing.T) { fail(t, errors.New("connection refused")) },
		Refuse:    func(t *testing.T) { fail(t, cleanup.Permanent(errors.New("UnauthorizedOperation: no"))) },
		Unhealthy: func(t *testing.T) { fail(t, cleanup.Permanent(errors.New("UnauthorizedOperation: no"))) },
		Throttle: func(t *testing.T) time.Duration {
			fail(t, cleanup.RetryAfter(errors.New("RequestLimitExceeded: no"), 7*time.Second))
			return 7 * time.Second
		},
	})
}
