package azurevirtualmachine

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const (
	group    = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/nodes"
	only     = `{"resourceGroups":["` + group + `"]}`
	firstID  = "d0df4c54-4ecb-4a4b-9954-5bdf3ed5c3b8"
	secondID = "7cdc1f83-c56c-4e5e-9f1f-60b0072ec8e6"
)

// arm is what Azure does with virtual machines: a deletion is accepted, and done some time later. Until it begins, the
// state does not change.
type arm struct {
	mutex sync.Mutex
	vms   map[string]*machine
	// lag is how many reads after a request the state does not change.
	lag int
	// lasts is how many reads find the state Deleting.
	lasts int
	// fails, unless it is empty, is why a deletion fails at its end.
	fails   string
	err     error
	deletes int
	reads   int
	// throttled is how many reads Azure refuses after a request.
	throttled int
	// waiting, if there is one, is closed by the next read, which then hangs.
	waiting chan struct{}
	// read, if there is one, is called after each read.
	read func()
}

// machine is a virtual machine with the rest of lag and lasts.
type machine struct {
	VM
	lagging, lasting int
}

func (a *arm) Get(ctx context.Context, cloud string, id ID) (VM, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.reads++
	if a.waiting != nil {
		close(a.waiting)
		a.waiting = nil
		<-ctx.Done()
		return VM{}, ctx.Err()
	}
	if a.throttled > 0 && a.deletes > 0 {
		a.throttled--
		return VM{}, cleanup.RetryAfter(errors.New("TooManyRequests: slow down"), 17*time.Second)
	}
	if a.err != nil {
		return VM{}, a.err
	}
	if cloud != CloudPublic {
		return VM{}, errors.New("unexpected cloud " + cloud)
	}
	vm := a.vms[id.String()]
	if vm == nil {
		return VM{}, ErrNotFound
	}
	now := vm.VM
	if a.read != nil {
		defer a.read()
	}
	switch {
	case vm.lagging > 0:
		if vm.lagging--; vm.lagging == 0 {
			vm.State, vm.lasting = StateDeleting, a.lasts
		}
	case vm.State == StateDeleting:
		if vm.lasting--; vm.lasting > 0 {
			break
		}
		if a.fails == "" {
			delete(a.vms, id.String())
		} else {
			vm.State, vm.Message = StateFailed, a.fails
		}
	}
	return now, nil
}

func (a *arm) Delete(_ context.Context, _ string, id ID) error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.err != nil {
		return a.err
	}
	a.deletes++
	vm := a.vms[id.String()]
	switch {
	case vm == nil:
		return ErrNotFound
	case a.lag > 0:
		vm.lagging = a.lag
	case a.lasts == 0:
		delete(a.vms, id.String())
	default:
		vm.State, vm.lasting = StateDeleting, a.lasts
	}
	return nil
}

func (a *arm) create(name, id string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.vms == nil {
		a.vms = map[string]*machine{}
	}
	a.vms[name] = &machine{VM: VM{VMID: id, ComputerName: name, State: "Succeeded"}}
}

func nodeOf(name, system string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)},
		Spec:       corev1.NodeSpec{ProviderID: "azure://" + group + "/providers/Microsoft.Compute/virtualMachines/" + name},
		Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{SystemUUID: system}},
	}
}

// call is a call of Cleanup whose outputs are kept for the next one.
type call struct {
	cleanup.Target
	progress string
}

func targetOf(node *corev1.Node) *call {
	c := &call{}
	outputs := map[string]string{}
	c.Target = cleanup.Target{
		Node: node, Step: "vm", Attempt: 1, Log: slog.New(slog.DiscardHandler), Progress: func(text string) { c.progress = text },
		Outputs:  map[string]map[string]string{"vm": outputs},
		Recorded: func(name, value string) error { outputs[name] = value; return nil },
	}
	return c
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

func bind(t *testing.T, api API, clock clock.WithTicker, options string) cleanup.Plugin {
	t.Helper()
	plugin, faults := Descriptor(api, clock).Bind([]byte(options))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

func TestTheDeletionIsRequestedOnceAndFollowed(t *testing.T) {
	service := &arm{lag: 2, lasts: 12}
	service.create("a", firstID)
	clock := newInstant()
	call := targetOf(nodeOf("a", firstID))
	if err := bind(t, service, clock, only).Cleanup(t.Context(), call.Target); err != nil {
		t.Fatal(err)
	}
	if service.deletes != 1 || service.vms["a"] != nil || len(clock.waits) != 15 || clock.waits[0] != pollPeriod {
		t.Errorf("%d requests, %d waits, left %v", service.deletes, len(clock.waits), service.vms)
	}
	if call.progress != "waiting until Azure has deleted virtual machine a" || call.Outputs["vm"][vmID] != firstID {
		t.Errorf("%q, %v", call.progress, call.Outputs)
	}
}

// The agent is killed after the request. No operation is stored: the state says that Azure deletes.
func TestARestartContinuesWithoutAStoredOperation(t *testing.T) {
	service := &arm{lasts: 5}
	service.create("a", firstID)
	ctx, cancel := context.WithCancel(t.Context())
	call := targetOf(nodeOf("a", firstID))
	call.Progress = func(string) { cancel() }
	if err := bind(t, service, testingclock.NewFakeClock(time.Now()), only).Cleanup(ctx, call.Target); !errors.Is(err, context.Canceled) || service.deletes != 1 {
		t.Fatalf("%v, %d requests", err, service.deletes)
	}
	call.Progress = func(string) {}
	call.Attempt++
	if err := bind(t, service, newInstant(), only).Cleanup(t.Context(), call.Target); err != nil || service.deletes != 1 || service.vms["a"] != nil {
		t.Errorf("%v, %d requests, left %v", err, service.deletes, service.vms)
	}
}

func TestADeletionThatDoesNotBeginIsRequestedAgain(t *testing.T) {
	service := &arm{lag: 1000}
	service.create("a", firstID)
	service.read = func() {
		if service.reads == 14 { // Two minutes later.
			service.lag = 0
		}
	}
	if err := bind(t, service, newInstant(), only).Cleanup(t.Context(), targetOf(nodeOf("a", firstID)).Target); err != nil || service.deletes != 4 {
		t.Errorf("%v, %d requests", err, service.deletes)
	}
}

func TestADeletionThatFailsIsTriedAgainByTheAgent(t *testing.T) {
	service := &arm{lasts: 3, fails: "the disk is locked"}
	service.create("a", firstID)
	call := targetOf(nodeOf("a", firstID))
	err := bind(t, service, newInstant(), only).Cleanup(t.Context(), call.Target)
	if want := "deleting virtual machine a: Azure reports provisioning state Failed: the disk is locked"; err == nil || err.Error() != want || cleanup.IsPermanent(err) {
		t.Errorf("%v, want %s", err, want)
	}
	service.fails = ""
	if err := bind(t, service, newInstant(), only).Cleanup(t.Context(), call.Target); err != nil || service.deletes != 2 || len(service.vms) != 0 {
		t.Errorf("%v, %d requests", err, service.deletes)
	}
}

// Many Nodes exceed the limit together. That is no failure of the step, whose retries would soon be used up.
func TestTheStepWaitsWhileAzureLimitsTheRate(t *testing.T) {
	service := &arm{lasts: 1, throttled: 20}
	service.create("a", firstID)
	clock := newInstant()
	if err := bind(t, service, clock, only).Cleanup(t.Context(), targetOf(nodeOf("a", firstID)).Target); err != nil || service.deletes != 1 {
		t.Errorf("%v, %d requests", err, service.deletes)
	}
	if len(clock.waits) != 22 || clock.waits[1] != 17*time.Second {
		t.Errorf("waited %v, Azure asks for 17s", clock.waits)
	}
}

func TestAMachineThatIsNotThatOfTheNodeIsNotDeleted(t *testing.T) {
	const swapped = "544CDFD0-CB4E-4B4A-9954-5BDF3ED5C3B8" // firstID in Linux, see the source at otherMachine.
	for name, test := range map[string]struct {
		node, computer, system, vmID, refused string
	}{
		"the same":                   {"a", "a", firstID, firstID, ""},
		"generation 1":               {"a", "a", swapped, firstID, ""},
		"in upper case":              {"a", "A", strings.ToUpper(firstID), firstID, ""},
		"Windows":                    {"a", "a", "{" + strings.ToUpper(firstID) + "}", firstID, ""},
		"no system UUID":             {"a", "a", "", firstID, ""},
		"an empty system UUID":       {"a", "a", "00000000-0000-0000-0000-000000000000", firstID, ""},
		"a serial number":            {"a", "a", "0000-0014-5462", firstID, ""},
		"no vmId":                    {"a", "a", firstID, "", ""},
		"a later machine":            {"a", "a", firstID, secondID, `its vmId is ` + secondID + `, and the system UUID of the node is ` + firstID},
		"with a domain":              {"a.example.com", "a", firstID, firstID, ""},
		"the name of the machine":    {"vm", "other", firstID, firstID, ""},
		"unknown host name":          {"a", "", firstID, firstID, ""},
		"the machine of another one": {"a", "b", firstID, firstID, `its host name is "b", and the node is a`},
		"only the beginning":         {"a", "ab", firstID, firstID, `its host name is "ab", and the node is a`},
	} {
		t.Run(name, func(t *testing.T) {
			service := &arm{}
			service.create("vm", test.vmID)
			service.vms["vm"].ComputerName = test.computer
			node := nodeOf("vm", test.system)
			node.Name = test.node
			err := bind(t, service, newInstant(), only).Cleanup(t.Context(), targetOf(node).Target)
			if test.refused == "" {
				if err != nil || service.vms["vm"] != nil {
					t.Errorf("%v", err)
				}
				return
			}
			if !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), test.refused) || service.deletes != 0 {
				t.Errorf("%v, %d requests, want %s", err, service.deletes, test.refused)
			}
			effects, err := bind(t, service, nil, only).(cleanup.Previewer).Preview(t.Context(), targetOf(node).Target)
			if err != nil || len(effects) != 2 || effects[1].Blocked == nil || effects[1].Blocked.Option != "skipIdentityCheck" || effects[1].Blocked.Message != test.refused {
				t.Errorf("the preview says %+v, %v", effects, err)
			}
			anyway := strings.TrimSuffix(only, "}") + `,"skipIdentityCheck":true}`
			if err := bind(t, service, newInstant(), anyway).Cleanup(t.Context(), targetOf(node).Target); err != nil || service.vms["vm"] != nil {
				t.Errorf("with skipIdentityCheck: %v", err)
			}
		})
	}
}

// Something creates a virtual machine with the same name while the step runs, or after it.
func TestALaterMachineWithTheSameNameIsLeftAlone(t *testing.T) {
	for name, existed := range map[string]bool{"after the deletion": true, "of a machine that did not exist": false} {
		service := &arm{lasts: 1}
		if existed {
			service.create("a", firstID)
		}
		plugin, call := bind(t, service, newInstant(), only), targetOf(nodeOf("a", firstID))
		if err := plugin.Cleanup(t.Context(), call.Target); err != nil {
			t.Fatal(err)
		}
		before := service.deletes
		service.create("a", secondID)
		if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), call.Target); undone != "" || err != nil {
			t.Errorf("%s: %q, %v", name, undone, err)
		}
		if err := plugin.Cleanup(t.Context(), call.Target); err != nil || service.deletes != before || service.vms["a"] == nil {
			t.Errorf("%s: %v, %d requests", name, err, service.deletes-before)
		}
	}
	service := &arm{lasts: 3}
	service.create("a", firstID)
	service.read = func() {
		if service.vms["a"].lasting == 1 {
			service.vms["a"] = &machine{VM: VM{VMID: secondID, ComputerName: "a", State: "Creating"}}
		}
	}
	if err := bind(t, service, newInstant(), only).Cleanup(t.Context(), targetOf(nodeOf("a", firstID)).Target); err != nil || service.deletes != 1 || service.vms["a"] == nil {
		t.Errorf("during the deletion: %v, %d requests", err, service.deletes)
	}
}

// Azure gives no ID, so only the name says that the later machine is not that of the Node.
func TestALaterMachineWithoutAnIDIsCompared(t *testing.T) {
	service := &arm{}
	call := targetOf(nodeOf("a", firstID))
	plugin := bind(t, service, newInstant(), only)
	if err := plugin.Cleanup(t.Context(), call.Target); err != nil || call.Outputs["vm"][vmID] != absent {
		t.Fatalf("%v, %v", err, call.Outputs)
	}
	service.create("a", "")
	service.vms["a"].ComputerName, call.Node.Name = "b", "c"
	if err := plugin.Cleanup(t.Context(), call.Target); !cleanup.IsPermanent(err) || service.deletes != 0 {
		t.Errorf("%v, %d requests", err, service.deletes)
	}
}

func TestAMachineThatDisappearsBeforeTheRequestIsDone(t *testing.T) {
	service := &arm{}
	service.create("a", firstID)
	service.read = func() { delete(service.vms, "a") }
	if err := bind(t, service, newInstant(), only).Cleanup(t.Context(), targetOf(nodeOf("a", firstID)).Target); err != nil || service.deletes != 1 {
		t.Errorf("%v, %d requests", err, service.deletes)
	}
}

func TestProviderIDs(t *testing.T) {
	const sub = "11111111-2222-3333-4444-555555555555"
	prefix := "azure:///subscriptions/" + sub + "/resourceGroups/nodes/providers/Microsoft.Compute/"
	for id, want := range map[string]ID{
		prefix + "virtualMachines/aks-nodepool1-27053986-0":                                            {sub, "nodes", "", "aks-nodepool1-27053986-0"},
		prefix + "virtualMachines/flexprofile-mp-0_df53ee36":                                           {sub, "nodes", "", "flexprofile-mp-0_df53ee36"},
		prefix + "virtualMachineScaleSets/agents/virtualMachines/1":                                    {sub, "nodes", "agents", "1"},
		prefix + "virtualMachineScaleSets/agents/virtualMachines/Agents_12":                            {sub, "nodes", "agents", "12"},
		strings.ToLower(prefix) + "virtualmachinescalesets/agents/virtualmachines/1":                   {sub, "nodes", "agents", "1"},
		prefix + "virtualMachineScaleSets/agents/virtualMachines/":                                     {},
		prefix + "virtualMachineScaleSets/agents/virtualMachines/other_1":                              {},
		prefix + "virtualMachineScaleSets/agents":                                                      {},
		prefix + "virtualMachines/a/b":                                                                 {},
		prefix + "virtualMachines/a?x=1":                                                               {},
		prefix + "disks/a":                                                                             {},
		"azure://" + sub + "/a":                                                                        {},
		"azure:///subscriptions/../resourceGroups/nodes/providers/Microsoft.Compute/virtualMachines/a": {},
	} {
		got, err := parse(id)
		if got != want || (err != nil) != (want == ID{}) {
			t.Errorf("%s: %+v, %v", id, got, err)
		}
	}
	service := &arm{}
	service.create("a", firstID)
	for id, want := range map[string]string{
		prefix + "disks/a": "does not name a virtual machine",
		strings.Replace(prefix, "/nodes/", "/others/", 1) + "virtualMachines/a": "is in resource group /subscriptions/" + sub + "/resourceGroups/others, which is not in the option resourceGroups",
	} {
		node := nodeOf("a", firstID)
		node.Spec.ProviderID = id
		plugin := bind(t, service, newInstant(), only)
		if err := plugin.Cleanup(t.Context(), targetOf(node).Target); !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), want) || service.deletes != 0 {
			t.Errorf("%s: %v, want %s", id, err, want)
		}
		effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), targetOf(node).Target)
		if err != nil || len(effects) != 1 || effects[0].Blocked == nil || !strings.Contains(effects[0].Blocked.Message, want) {
			t.Errorf("%s: the preview says %+v, %v", id, effects, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{
		`{}`:                           "resourceGroups: must not be empty",
		`{"resourceGroups":["nodes"]}`: "resourceGroups[0]: must be the ID of a resource group",
		`{"resourceGroups":["` + group + `","` + strings.ToUpper(group) + `"]}`: "resourceGroups[1]: is listed twice",
		strings.TrimSuffix(only, "}") + `,"cloud":"AzureStack"}`:                `cloud: must be AzurePublic, AzureGovernment, AzureChina, not "AzureStack"`,
	} {
		_, faults := Descriptor(nil, nil).Bind([]byte(options))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

// The health check reads both kinds of virtual machines in each resource group, and its names exist nowhere.
func TestTheHealthCheckReadsBothKinds(t *testing.T) {
	service := &arm{}
	two := `{"resourceGroups":["` + group + `","` + group + `2"]}`
	if err := bind(t, service, nil, two).(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil || service.reads != 4 {
		t.Errorf("%v, %d reads", err, service.reads)
	}
	service.err = errors.New("AuthorizationFailed: no")
	err := bind(t, service, nil, two).(cleanup.HealthChecker).CheckHealth(t.Context())
	if want := "reading virtual machines in resource group nodes: AuthorizationFailed: no"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestThePreviewOfTheCLINamesTheSameEffectsForTheHash(t *testing.T) {
	service := &arm{}
	service.create("a", firstID)
	node := nodeOf("a", firstID)
	byAgent, err := bind(t, service, nil, only).(cleanup.Previewer).Preview(t.Context(), targetOf(node).Target)
	if err != nil {
		t.Fatal(err)
	}
	byCLI, err := bind(t, nil, nil, only).(cleanup.Previewer).Preview(t.Context(), targetOf(node).Target)
	if err != nil {
		t.Fatal(err)
	}
	if len(byAgent) != 2 || len(byCLI) != 1 || byAgent[0] != byCLI[0] || byAgent[1].ReportedBy != "Azure" || byAgent[1].Reason != "now Succeeded" {
		t.Errorf("the agent says %+v, the CLI %+v", byAgent, byCLI)
	}
	delete(service.vms, "a")
	if gone, err := bind(t, service, nil, only).(cleanup.Previewer).Preview(t.Context(), targetOf(node).Target); err != nil || gone[1].Reason != "virtual machine a does not exist" {
		t.Errorf("%+v, %v", gone, err)
	}
}

func TestConformance(t *testing.T) {
	service := &arm{lasts: 2}
	fail := func(t *testing.T, err error) {
		service.err = err
		t.Cleanup(func() { service.err = nil })
	}
	made := 0
	create := func(name string) string {
		made++
		id := firstID[:24] + strconv.Itoa(100000000000+made)
		service.create(name, id)
		return id
	}
	plugintest.Run(t, plugintest.Suite{
		Descriptor: Descriptor(service, newInstant()),
		Options:    only,
		Node:       func(_ *testing.T, name string) *corev1.Node { return nodeOf(name, create(name)) },
		Exempt: func(_ *testing.T, name string) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{ProviderID: "aws:///eu-west-1a/i-" + name}}
		},
		Effects: func(*testing.T) int {
			service.mutex.Lock()
			defer service.mutex.Unlock()
			return service.deletes
		},
		Hang: func(*testing.T, *corev1.Node) <-chan struct{} {
			service.mutex.Lock()
			defer service.mutex.Unlock()
			service.waiting = make(chan struct{})
			return service.waiting
		},
		Break:     func(t *testing.T) { fail(t, errors.New("connection refused")) },
		Refuse:    func(t *testing.T) { fail(t, cleanup.Permanent(errors.New("InvalidParameter: no"))) },
		Unhealthy: func(t *testing.T) { fail(t, errors.New("ResourceGroupNotFound: no")) },
		Throttle: func(t *testing.T) time.Duration {
			fail(t, cleanup.RetryAfter(errors.New("TooManyRequests: slow down"), 7*time.Second))
			return 7 * time.Second
		},
	})
}
