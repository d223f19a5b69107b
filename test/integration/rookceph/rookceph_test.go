package rookceph_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// TestOSDsAreRemovedAfterTheirDataIsElsewhere removes the OSDs of a Node from a Ceph that keeps two copies on three
// hosts.
func TestOSDsAreRemovedAfterTheirDataIsElsewhere(t *testing.T) {
	f := setUp(t, 2)
	step := f.step(f.options())
	if err := step.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
		t.Error(err)
	}
	effects, err := step.(cleanup.Previewer).Preview(t.Context(), f.target(1))
	if err != nil || len(effects) != 1 || effects[0].String() != "remove OSD "+f.namespace+"/osd.1 (after Ceph has moved its data to other OSDs)" {
		t.Errorf("preview: %v, %v", effects, err)
	}
	if undone, err := step.(cleanup.Verifier).Verify(t.Context(), f.target(1)); err != nil || undone != "the Node has osd.1" {
		t.Errorf("before: %q, %v", undone, err)
	}
	if err := step.Cleanup(t.Context(), f.target(1)); err != nil {
		t.Fatal(err)
	}
	after, err := f.state(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Known[1] || !after.Up[0] || !after.Up[2] || slices.Contains(after.Hosts, "host1") || after.Degraded > 0 || after.Unclean > 0 || after.Objects != 20 {
		t.Errorf("after: %+v", after)
	}
	deployments, err := f.osdDeployments(t.Context())
	if _, exists := deployments[1]; err != nil || exists || len(deployments) != 2 {
		t.Errorf("%d deployments, %v", len(deployments), err)
	}
	if undone, err := step.(cleanup.Verifier).Verify(t.Context(), f.target(1)); err != nil || undone != "" {
		t.Errorf("after: %q, %v", undone, err)
	}
	phases := f.phases()
	if err := step.Cleanup(t.Context(), f.target(1)); err != nil || len(f.phases()) != len(phases) {
		t.Errorf("again: %v, %v", err, f.phases())
	}

	// Ceph gives the id to a new OSD, here on the Node of osd.2. It must not be touched by a late repetition.
	f.addOSD(1, "host2")
	f.awaitClean()
	f.deployment(1, "00000000-0000-4000-8000-000000000000") // That of the removed OSD, on node-1.
	if err := step.Cleanup(t.Context(), f.target(1)); err != nil {
		t.Fatal(err)
	}
	if after = f.awaitClean(); !after.Known[1] || !after.In[1] {
		t.Errorf("an OSD with a reused id was touched: %+v", after)
	}
}

// TestAnOSDWithTheLastCopyIsNeverPurged removes an OSD from a Ceph whose data has no other place: three copies on three
// hosts.
func TestAnOSDWithTheLastCopyIsNeverPurged(t *testing.T) {
	f := setUp(t, 3)
	step := f.step(f.options())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- step.Cleanup(ctx, f.target(0)) }()
	f.eventually("Ceph has osd.0 out", func(ctx context.Context) (bool, error) {
		current, err := f.state(ctx)
		return err == nil && current.Known[0] && !current.In[0], err
	})
	// The OSD fails, and another attempt begins, as after a restart of the agent.
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the first attempt: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := step.Cleanup(ctx, f.target(0))
	if err == nil || !strings.Contains(err.Error(), "phase evacuate of osd.0") {
		t.Errorf("the second attempt: %v", err)
	}
	if slices.Contains(f.phases(), "remove") {
		t.Errorf("the phases: %v", f.phases())
	}
	current, err := f.state(t.Context())
	if err != nil || !current.Known[0] || !current.Up[0] {
		t.Fatalf("osd.0 is not as it was: %+v, %v", current, err)
	}

	f.cephCluster(`{"health": "HEALTH_ERR", "details": {"PG_AVAILABILITY": {"severity": "HEALTH_WARN", "message": "1 pg inactive"}, "MON_DOWN": {"message": "1 mon down"}}}`)
	effects, err := step.(cleanup.Previewer).Preview(t.Context(), f.target(0))
	if err != nil || len(effects) != 1 || effects[0].Blocked == nil || effects[0].Blocked.Message != "Ceph reports PG_AVAILABILITY (1 pg inactive): this node may hold the last copy of data" {
		t.Errorf("preview: %+v, %v", effects, err)
	}

	// The cleanup is canceled.
	for range 2 {
		if err := step.(cleanup.Withdrawer).Withdraw(t.Context(), f.target(0)); err != nil {
			t.Fatal(err)
		}
	}
	if current = f.awaitClean(); !current.In[0] || !current.Up[0] {
		t.Errorf("after the withdrawal: %+v", current)
	}
	deployments, err := f.osdDeployments(t.Context())
	if err != nil || len(deployments[0].Annotations) > 1 || *deployments[0].Spec.Replicas != 1 {
		t.Errorf("after the withdrawal: %+v, %v", deployments[0].ObjectMeta, err)
	}
}

// TestOSDsOfADeadHostAreRemoved lets the agent end in each phase.
func TestOSDsOfADeadHostAreRemoved(t *testing.T) {
	f := setUp(t, 2)
	f.hostDies(2)
	for _, phase := range []string{"evacuate", "remove"} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.step(f.options()).Cleanup(ctx, f.target(2)) }()
		f.eventually("phase "+phase+" has begun", func(context.Context) (bool, error) { return slices.Contains(f.phases(), phase), nil })
		cancel()
		<-ended
	}
	if err := f.step(f.options()).Cleanup(t.Context(), f.target(2)); err != nil {
		t.Fatal(err)
	}
	if after := f.awaitClean(); after.Known[2] || after.Objects != 20 {
		t.Errorf("after: %+v", after)
	}
	if phases := f.phases(); !slices.Equal(phases, []string{"evacuate", "remove"}) {
		t.Errorf("the phases ran again: %v", phases)
	}
}

// TestTheScriptDoesNotTrustCeph runs phases of the script alone, in situations in which Ceph itself does not protect the
// data, or says what is not so.
func TestTheScriptDoesNotTrustCeph(t *testing.T) {
	f := setUp(t, 3)
	f.hostDies(0)
	// Ceph purges each OSD that is down.
	said, ended := f.script("remove", "host0", fmt.Sprint("0=", f.uuids[0]), 5*time.Second)
	if current, err := f.state(t.Context()); ended || err != nil || !current.Known[0] || !strings.Contains(said, "osd.0 is not safe to destroy: ") {
		t.Errorf("a down OSD: ended %v, %+v, %v\n%s", ended, current, err, said)
	}
	// Ceph reports an unknown id as safe to destroy, and its host is not empty.
	said, ended = f.script("remove", "host1", "77="+f.uuids[0], cephTimeout)
	if !ended || !strings.Contains(said, "osd.77 does not exist any more\nhost host1 stays in the CRUSH map") {
		t.Errorf("an unknown id: ended %v\n%s", ended, said)
	}
	// The key of the user does not allow more.
	said, ended = f.script("evacuate", "host1", "1=nothing", cephTimeout)
	if !ended || !strings.Contains(said, "osd.1 has another uuid: its id was reused") {
		t.Errorf("another UUID: ended %v\n%s", ended, said)
	}
	if current, err := f.state(t.Context()); err != nil || !current.In[1] {
		t.Errorf("after: %+v, %v", current, err)
	}
}
