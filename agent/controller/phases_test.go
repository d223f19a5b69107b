package controller

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	contract "github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodepatch"
)

func TestEnsureFinalizer(t *testing.T) {
	without := func(node *corev1.Node) { node.Finalizers = nil }
	for name, test := range map[string]struct {
		node    *corev1.Node
		prepare func(*bench)
		patched bool
		fails   bool
	}{
		"added to a node that lacks it":      {node: makeNode(without), patched: true},
		"already has the finalizer":          {node: makeNode(nil)},
		"not to a terminating one":           {node: deletedNode(without)},
		"not to one that is not selected":    {node: makeNode(without), prepare: func(b *bench) { b.config.NodeSelector = labels.Nothing() }},
		"not by an agent that does not lead": {node: makeNode(without), prepare: func(b *bench) { b.fence = errors.New("not the leader") }, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTest(t, test.node)
			if test.prepare != nil {
				test.prepare(b)
			}
			done := b.ensureFinalizer(t.Context(), b.cleanup(test.node))
			if (done.err != nil) != test.fails {
				t.Errorf("the error is %v", done.err)
			}
			patches := b.patches()
			if (len(patches) == 1) != test.patched || b.counts.added != len(patches) {
				t.Errorf("patches are %q, counted %d", patches, b.counts.added)
			}
			if test.patched && patches[0] != `{"metadata":{"finalizers":["nodecleanup.io/finalizer"],"uid":"uid"}}` {
				t.Errorf("the patch is %s", patches[0])
			}
		})
	}
}

func TestSuperviseRun(t *testing.T) {
	bypass := func(node *corev1.Node) { node.Annotations = map[string]string{api.AnnotationBypass: "true"} }
	release := func(b *bench) {
		b.config.Deadline = config.Deadline{After: time.Hour, Action: config.Release}
		b.clock.Step(2 * time.Hour)
	}
	for name, test := range map[string]struct {
		node      *corev1.Node
		prepare   func(*bench)
		running   bool
		continues bool
		interrupt error
	}{
		"without a run":           {node: deletedNode(nil), continues: true},
		"a run in progress":       {node: deletedNode(nil), running: true},
		"a run that is bypassed":  {node: deletedNode(bypass), running: true, interrupt: errBypassed},
		"a run past its deadline": {node: deletedNode(nil), running: true, prepare: release, interrupt: errDeadline},
		"a run past a holding deadline": {node: deletedNode(nil), running: true, prepare: func(b *bench) {
			release(b)
			b.config.Deadline.Action = config.Hold
		}},
		"a run on request that is bypassed": {node: makeNode(bypass), running: true},
		"a node that is released": {node: deletedNode(nil), prepare: func(b *bench) {
			b.states.update("uid", func(s *nodeState) { s.released = true })
		}},
		"a node that is deleted in between": {node: deletedNode(nil), prepare: func(b *bench) {
			if err := b.nodes.Store().Delete(&nodecache.Node{ObjectMeta: deletedNode(nil).ObjectMeta}); err != nil {
				b.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTest(t, test.node)
			c := b.cleanup(test.node)
			var cause error
			if test.running {
				b.states.track(c.cached, func() bool { return true })
				b.states.acquire(1, "uid")
				b.states.update("uid", func(s *nodeState) { s.cancel = func(why error) { cause = why } })
			}
			if test.prepare != nil {
				test.prepare(b)
			}
			if done := b.superviseRun(t.Context(), c); done.stop == test.continues || done.err != nil {
				t.Errorf("the result is %+v", done)
			}
			if cause != test.interrupt {
				t.Errorf("the run is interrupted by %v, want %v", cause, test.interrupt)
			}
		})
	}
}

func TestAwaitSlot(t *testing.T) {
	annotated := func(key string) *corev1.Node {
		return deletedNode(func(node *corev1.Node) { node.Annotations = map[string]string{key: "true"} })
	}
	for name, test := range map[string]struct {
		node    *corev1.Node
		prepare func(*bench)
		slot    bool
		says    string
	}{
		"all slots taken": {node: deletedNode(nil)},
		"all slots taken for long": {node: deletedNode(nil), prepare: func(b *bench) { b.clock.Step(3 * time.Minute) },
			says: "waiting for a slot: at most 2 cleanups at the same time"},
		"a bypass needs no slot":              {node: annotated(api.AnnotationBypass), slot: true},
		"a withdrawn request needs no slot":   {node: makeNode(nil), slot: true},
		"a request waits without a condition": {node: makeNode(func(n *corev1.Node) { n.Annotations = map[string]string{api.AnnotationCleanupRequestedAt: "now"} })},
		"a completed cleanup needs no slot":   {node: deletedNode(nil), prepare: func(b *bench) { b.states.update("uid", func(s *nodeState) { s.complete = true }) }, slot: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTest(t, test.node)
			trackAll(b.states, "x", "y")
			b.states.acquire(2, "x")
			b.states.acquire(2, "y")
			c := b.cleanup(test.node)
			b.states.track(c.cached, func() bool { return true })
			if test.prepare != nil {
				test.prepare(b)
			}
			done := b.awaitSlot(t.Context(), c)
			if c.slot != test.slot || done.stop == test.slot || done.err != nil {
				t.Errorf("slot %v, result %+v", c.slot, done)
			}
			if said := b.condition(); !strings.Contains(said, test.says) || test.says == "" && said != "" {
				t.Errorf("the condition says %q, want %q", said, test.says)
			}
		})
	}
}

// A Node that no longer waits must not keep its place: those behind it would wait for ever.
func TestNodeLeavesTheQueueWhenItsRequestIsWithdrawn(t *testing.T) {
	requested := makeNode(func(n *corev1.Node) { n.Annotations = map[string]string{api.AnnotationCleanupRequestedAt: "now"} })
	b := newTest(t, requested)
	trackAll(b.states, "x", "y")
	b.states.acquire(2, "x")
	b.states.acquire(2, "y")
	for _, step := range []struct {
		node    *corev1.Node
		waiting int
	}{{requested, 1}, {makeNode(nil), 0}} {
		b.seen(step.node)
		if after, err := b.reconcile(t.Context(), "worker"); err != nil || after != 0 {
			t.Errorf("again after %s, error %v", after, err)
		}
		if taken, waiting := b.states.counts(); taken != 2 || waiting != step.waiting {
			t.Errorf("%d slots taken, %d Nodes wait, want %d", taken, waiting, step.waiting)
		}
	}
}

func TestLoad(t *testing.T) {
	retried := func(at string) *corev1.Node {
		return deletedNode(func(n *corev1.Node) { n.Annotations = map[string]string{api.AnnotationRetryRequestedAt: at} })
	}
	for name, test := range map[string]struct {
		cached    *corev1.Node
		current   *corev1.Node
		data      string
		prepare   func(*bench)
		continues bool
		blocked   string
	}{
		"a node without a record":           {cached: deletedNode(nil), current: deletedNode(nil), continues: true},
		"the name of another node":          {cached: deletedNode(nil), current: deletedNode(func(n *corev1.Node) { n.UID = "other" })},
		"now terminating":                   {cached: makeNode(nil), current: deletedNode(nil)},
		"finalizer removed in the meantime": {cached: deletedNode(nil), current: deletedNode(func(n *corev1.Node) { n.Finalizers = []string{"theirs"} })},
		"a record that cannot be decoded":   {cached: deletedNode(nil), current: deletedNode(nil), data: "{", blocked: "kubectl nodecleanup retry worker"},
		"a record about another node":       {cached: deletedNode(nil), current: deletedNode(nil), data: `{"version":"nodecleanup.io/v1alpha1","node":"worker","nodeUID":"other","state":"Succeeded"}`, blocked: "it is about node UID other"},
		"a bypass over a broken record": {
			cached: deletedNode(func(n *corev1.Node) { n.Annotations = map[string]string{api.AnnotationBypass: "true"} }), current: deletedNode(nil), data: "{", continues: true},
		"a retry after the record broke":                  {cached: deletedNode(nil), current: retried("2026-01-31T04:00:01.5Z"), data: "{", continues: true},
		"a retry in the second in which the record broke": {cached: deletedNode(nil), current: retried("2026-01-31T04:00:00.2Z"), data: "{", continues: true},
		"a retry by a clock that is two seconds slow":     {cached: deletedNode(nil), current: retried("2026-01-31T03:59:58Z"), data: "{", continues: true},
		"a retry before the record broke":                 {cached: deletedNode(nil), current: retried("2026-01-31T03:59:00Z"), data: "{", blocked: "paused. The retry request does not count: it is of 2026-01-31T03:59:00Z, and the record was changed after it, at 2026-01-31T04:00:00Z."},
		"a retry that is not a time":                      {cached: deletedNode(nil), current: retried("now"), data: "{", blocked: "annotation nodecleanup.io/retry-requested-at is not a time in RFC 3339 format."},
		"a deletion that this leader saw": {cached: deletedNode(nil), current: deletedNode(nil), data: "{", continues: true,
			prepare: func(b *bench) { b.states.update("uid", func(s *nodeState) { s.unrecorded = true }) }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTest(t, test.current)
			c := b.cleanup(test.cached)
			b.states.track(c.cached, func() bool { return true })
			if test.prepare != nil {
				test.prepare(b)
			}
			if test.data != "" {
				at := metav1.NewTime(started)
				written := []metav1.ManagedFieldsEntry{{Manager: "edit", Operation: metav1.ManagedFieldsOperationUpdate, Time: &at, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{"f:run":{}}}`)}}}
				configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.RunName("worker", "uid"), ManagedFields: written}, Data: map[string]string{api.RunKey: test.data}}
				if err := b.client.Tracker().Add(configMap); err != nil {
					t.Fatal(err)
				}
			}
			done := b.load(t.Context(), c)
			if done.stop == test.continues || (done.blocked == "") != (test.blocked == "") || !strings.Contains(done.blocked, test.blocked) {
				t.Errorf("the result is %+v", done)
			}
			if test.continues && (c.record == nil || c.record.State != api.Pending || c.record.NodeUID != "uid") {
				t.Errorf("the record is %+v", c.record)
			}
		})
	}
}

func TestAdoptRecordNotesTheDeletion(t *testing.T) {
	node := deletedNode(func(node *corev1.Node) {
		node.Annotations = map[string]string{api.AnnotationCleanupRequestedAt: "now"}
		node.Spec.Unschedulable, node.Status.NodeInfo.BootID = true, "boot"
	})
	b := newTest(t, node)
	c := b.loaded(node, &api.Run{NodeUID: "uid", CleanupRequestedAt: "now", PlanHash: "p", State: api.Succeeded, DeadlinePassed: true, Steps: []api.StepRun{{Name: "drain", State: api.StepSucceeded, Attempts: 1}}})
	if done := b.adoptRecord(t.Context(), c); done.stop {
		t.Errorf("the result is %+v", done)
	}
	if run := c.record; !run.DeletionRequestedAt.Equal(node.DeletionTimestamp) || run.RequestedBy != "jane" || !run.RequestedByVerified || run.Host.BootID != "boot" || len(run.Steps) != 1 {
		t.Errorf("the record is %+v", run)
	}
	if !b.states.get("uid").late {
		t.Error("the deadline would be published twice")
	}
}

func TestOnBypass(t *testing.T) {
	for name, test := range map[string]struct {
		annotations map[string]string
		run         *api.Run
		released    bool
	}{
		"no bypass":            {},
		"an active bypass":     {annotations: map[string]string{api.AnnotationBypass: "true", api.AnnotationBypassReason: "fire", api.AnnotationBypassBy: "jane"}, released: true},
		"an invalid bypass":    {annotations: map[string]string{api.AnnotationBypass: "perhaps"}},
		"an expired bypass":    {annotations: map[string]string{api.AnnotationBypass: "true", api.AnnotationBypassUntil: "2020-01-01T00:00:00Z"}},
		"a record that claims": {run: &api.Run{Node: "worker", NodeUID: "uid", State: api.Bypassed, BypassReason: "forged"}},
	} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(func(node *corev1.Node) { node.Annotations = test.annotations })
			b := newTest(t, node)
			b.enforced = true
			c := b.loaded(node, test.run)
			done := b.onBypass(t.Context(), c)
			if done.stop != test.released || len(b.patches()) > 0 != test.released || b.states.get("uid").released != test.released {
				t.Fatalf("result %+v, patches %q", done, b.patches())
			}
			if !test.released {
				if c.record.State != api.Pending || c.record.BypassReason != "" {
					t.Errorf("the record is %+v", c.record)
				}
				return
			}
			if run := b.stored(); run.State != api.Bypassed || run.BypassReason != "fire" || run.Bypasser() != "jane" || run.FinishedAt == nil {
				t.Errorf("the record is %+v", run)
			}
			b.wantEvent("CleanupBypassed Cleanup bypassed by jane, ")
		})
	}
}

// A bypass releases the Node even if the record cannot be written; a deadline does not.
func TestOnlyAnOperatorReleasesWithoutARecord(t *testing.T) {
	for name, force := range map[string]bool{"bypass": true, "deadline": false} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(nil)
			b := newTest(t, node)
			b.client.PrependReactor("create", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(corev1.Resource("configmaps"), "run", errors.New("quota"))
			})
			done := b.releaseBypassed(t.Context(), b.loaded(node, nil), "because", force)
			if released := len(b.patches()) == 1; released != force || (done.err == nil) != force {
				t.Errorf("released %v, result %+v", released, done)
			}
		})
	}
}

func TestOnDeadline(t *testing.T) {
	for name, test := range map[string]struct {
		deadline config.Deadline
		passed   time.Duration
		event    string
		released bool
	}{
		"no deadline":        {passed: 100 * time.Hour},
		"before":             {deadline: config.Deadline{After: time.Hour, Action: config.Release}, passed: time.Minute},
		"after, to hold":     {deadline: config.Deadline{After: time.Hour, Action: config.Hold}, passed: 2 * time.Hour, event: "it continues"},
		"after, to released": {deadline: config.Deadline{After: time.Hour, Action: config.Release}, passed: 2 * time.Hour, event: "because deadline.action is Release", released: true},
	} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(nil)
			b := newTest(t, node)
			b.config.Deadline = test.deadline
			c := b.loaded(node, nil)
			b.clock.Step(test.passed)
			if done := b.onDeadline(t.Context(), c); done.stop != test.released || done.err != nil {
				t.Errorf("the result is %+v", done)
			}
			if len(b.patches()) > 0 != test.released {
				t.Errorf("patches %q", b.patches())
			}
			if test.event == "" {
				b.wantNoEvent()
				return
			}
			b.wantEvent(test.event)
			if test.released {
				return
			}
			if b.onDeadline(t.Context(), c); true {
				b.wantNoEvent()
			}
		})
	}
}

func TestOrDeadlineIsTheSoonerTime(t *testing.T) {
	b := newTest(t)
	b.config.Deadline = config.Deadline{After: time.Hour}
	node := deletedNode(nil)
	b.seen(node)
	c := b.cleanup(node)
	for _, test := range []struct{ passed, other, want time.Duration }{
		{0, 0, time.Hour}, {0, time.Minute, time.Minute}, {0, 2 * time.Hour, time.Hour}, {90 * time.Minute, time.Minute, time.Minute}, {0, 0, 0},
	} {
		b.clock.Step(test.passed)
		if got := b.orDeadline(c, test.other); got != test.want {
			t.Errorf("after %s, or %s: %s, want %s", test.passed, test.other, got, test.want)
		}
	}
}

func TestRetryReason(t *testing.T) {
	for _, test := range []struct {
		state           api.State
		hash, requested string
		secretWritten   bool
		want            string
	}{
		{api.Failed, "c", "", false, ""},
		{api.Failed, "c", "now", false, retryRequested},
		{api.Waiting, "c", "now", false, retryRequested},
		{api.Failed, "c", "before", false, ""},
		{api.Failed, "new", "", false, retryConfig},
		{api.Blocked, "new", "", false, retryConfig},
		{api.Waiting, "new", "", false, ""},
		{api.Waiting, "c", "", true, retrySecret},
		{api.Blocked, "c", "", true, retrySecret},
		{api.Failed, "c", "", true, retrySecret},
		{api.Running, "c", "", true, ""},
		{api.Succeeded, "new", "now", true, ""},
	} {
		run := &api.Run{State: test.state, ConfigHash: "c", RetryRequestedAt: "before"}
		if got := retryReason(run, test.hash, test.requested, test.secretWritten); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

func TestSecretWrittenSince(t *testing.T) {
	at := func(d time.Duration) time.Time { return started.Add(d) }
	failedAt := func(d time.Duration) []api.StepRun {
		finished := metav1.NewTime(at(d))
		return []api.StepRun{{Name: "storage", State: api.StepFailed, FinishedAt: &finished}}
	}
	waiting := []api.StepRun{{Name: "storage", State: api.StepRetrying}}
	for name, test := range map[string]struct {
		written map[string]time.Time
		ranAt   time.Time
		steps   []api.StepRun
		want    bool
	}{
		"never written":                          {ranAt: at(0), steps: waiting},
		"written before the run":                 {written: map[string]time.Time{"token": at(-time.Minute)}, ranAt: at(0), steps: waiting},
		"written since the run began":            {written: map[string]time.Time{"token": at(0)}, ranAt: at(-time.Minute), steps: waiting, want: true},
		"written since, of a skipped step":       {written: map[string]time.Time{"token": at(0)}, ranAt: at(-time.Minute), steps: []api.StepRun{{Name: "storage", State: api.StepSkipped}}},
		"written since, of a done step":          {written: map[string]time.Time{"token": at(0)}, ranAt: at(-time.Minute), steps: []api.StepRun{{Name: "storage", State: api.StepSucceeded}}},
		"an unused secret has changed":           {written: map[string]time.Time{"other": at(0)}, ranAt: at(-time.Minute), steps: waiting},
		"an earlier leader's failure, before it": {written: map[string]time.Time{"token": at(-time.Minute)}, steps: failedAt(0)},
		"an earlier leader's failure, after it":  {written: map[string]time.Time{"token": at(0)}, steps: failedAt(-time.Minute), want: true},
		"retried since by this leader":           {written: map[string]time.Time{"token": at(-time.Second)}, ranAt: at(0), steps: failedAt(-time.Minute)},
		"an earlier leader's run, unknown when":  {written: map[string]time.Time{"token": at(0)}, steps: waiting},
	} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(nil)
			b := newTest(t, node)
			b.step("storage", nil)
			b.config.Steps[0].Secrets = []contract.SecretKey{{Name: "token", Key: "token"}}
			for secret, at := range test.written {
				b.Secrets.Note(secret, at)
			}
			c := b.loaded(node, &api.Run{State: api.Failed, Steps: test.steps})
			b.states.update("uid", func(s *nodeState) { s.ranAt = test.ranAt })
			if got := b.secretWrittenSince(c); got != test.want {
				t.Errorf("it is %v", got)
			}
		})
	}
}

func TestAwaitRetry(t *testing.T) {
	in := func(d time.Duration) *metav1.MicroTime { at := metav1.NewMicroTime(started.Add(d)); return &at }
	for name, test := range map[string]struct {
		run     api.Run
		prepare func(*bench)
		stop    bool
		after   time.Duration
	}{
		"pending":     {run: api.Run{State: api.Pending}},
		"failed":      {run: api.Run{State: api.Failed, Message: "m"}, stop: true},
		"waits":       {run: api.Run{State: api.Waiting, Steps: []api.StepRun{{State: api.StepRetrying, NextAttemptAt: in(time.Hour)}, {State: api.StepRetrying, NextAttemptAt: in(time.Minute)}}}, stop: true, after: time.Minute},
		"has waited":  {run: api.Run{State: api.Waiting, Steps: []api.StepRun{{State: api.StepRetrying, NextAttemptAt: in(-time.Minute)}}}},
		"is blocked":  {run: api.Run{State: api.Blocked, CheckAgainAt: in(time.Second)}, stop: true, after: time.Second},
		"was blocked": {run: api.Run{State: api.Blocked, CheckAgainAt: in(-time.Second)}},
		"backs off":   {run: api.Run{State: api.Running}, prepare: func(b *bench) { b.states.update("uid", func(s *nodeState) { s.retryAt = started.Add(time.Second) }) }, stop: true, after: time.Second},
		"a secret changed": {run: api.Run{State: api.Failed, Steps: []api.StepRun{{Name: "storage", State: api.StepFailed}}}, prepare: func(b *bench) {
			b.step("storage", nil)
			b.config.Steps[0].Secrets = []contract.SecretKey{{Name: "token"}}
			b.Secrets.Note("token", started)
			b.states.update("uid", func(s *nodeState) { s.ranAt = started.Add(-time.Minute) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(nil)
			b := newTest(t, node)
			test.run.ConfigHash = b.config.Hash
			c := b.loaded(node, &test.run)
			if test.prepare != nil {
				test.prepare(b)
			}
			if done := b.awaitRetry(t.Context(), c); done.stop != test.stop || done.after != test.after || done.err != nil {
				t.Errorf("the result is %+v", done)
			}
		})
	}
}

func TestBuildPlanKeepsOnlyStepsOfThePlan(t *testing.T) {
	node := deletedNode(nil)
	b := newTest(t, node)
	b.step("storage", nil)
	c := b.loaded(node, &api.Run{Node: "worker", NodeUID: "uid", PlanHash: "p", State: api.Succeeded, Steps: []api.StepRun{{Name: "invented", Plugin: "test", State: api.StepSucceeded, Attempts: 1}}})
	if done := b.buildPlan(t.Context(), c); done.stop {
		t.Fatalf("the result is %+v", done)
	}
	if steps := c.record.Steps; len(steps) != 1 || steps[0].Name != "storage" || steps[0].State != api.StepPending {
		t.Errorf("the steps are %+v", steps)
	}
	b.step("bad", panics{})
	if done := b.buildPlan(t.Context(), c); done.err == nil || !strings.Contains(done.err.Error(), "nil map") {
		t.Errorf("the result is %+v", done)
	}
}

func TestPreflightBlocksAnUnhealthyPlan(t *testing.T) {
	node := deletedNode(nil)
	b := newTest(t, node)
	b.step("storage", unhealthy{})
	c := b.loaded(node, nil)
	b.buildPlan(t.Context(), c)
	done := b.preflight(t.Context(), c)
	run := b.stored()
	if !done.stop || done.err != nil || run == nil || run.State != api.Blocked || !strings.Contains(run.Message, "the array is rebuilding") || !run.CheckAgainAt.Time.Equal(started.Add(api.CheckAgainAfter)) {
		t.Errorf("the result is %+v, the record %+v", done, run)
	}
	c.record.Steps[0].Attempts = 1 // Once a step has begun, its retries are what waits.
	if done := b.preflight(t.Context(), c); done.stop {
		t.Errorf("a run that has begun is blocked: %+v", done)
	}
}

func TestCheckHost(t *testing.T) {
	was := &api.Host{BootID: "first"}
	for name, test := range map[string]struct {
		boot, retry string
		// known is the difference that the Node is held for.
		known string
		held  bool
	}{
		"the same host":                {boot: "first"},
		"unknown":                      {boot: ""},
		"rebooted":                     {boot: "second", held: true},
		"rebooted, old retry":          {boot: "second", retry: "before", held: true},
		"rebooted after a retry":       {boot: "second", retry: "now", held: true},
		"held, old retry":              {boot: "second", known: "boot ID was first and is second", retry: "before", held: true},
		"rebooted, taken care of":      {boot: "second", known: "boot ID was first and is second", retry: "now"},
		"rebooted again after a retry": {boot: "second", known: "boot ID was first and is third", retry: "now", held: true},
	} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(func(node *corev1.Node) {
				node.Status.NodeInfo.BootID = test.boot
				node.Annotations = map[string]string{api.AnnotationRetryRequestedAt: test.retry}
			})
			b := newTest(t, node)
			c := b.loaded(node, &api.Run{Node: "worker", NodeUID: "uid", State: api.Succeeded, Host: was, RetryRequestedAt: "before", HostDifference: test.known})
			if done := b.checkHost(t.Context(), c); done.stop != test.held || done.err != nil {
				t.Errorf("the result is %+v", done)
			}
			if said := b.condition(); strings.Contains(said, "boot ID was first and is second") != test.held {
				t.Errorf("the condition says %q", said)
			}
		})
	}
	t.Run("the node is read again if it changed", func(t *testing.T) {
		node := deletedNode(func(node *corev1.Node) { node.ResourceVersion, node.Status.NodeInfo.BootID = "2", "second" })
		b := newTest(t, node)
		c := b.loaded(deletedNode(nil), &api.Run{Node: "worker", NodeUID: "uid", State: api.Succeeded, Host: was})
		if done := b.checkHost(t.Context(), c); !done.stop {
			t.Errorf("the result is %+v", done)
		}
	})
}

func TestReleaseRemovesOurFinalizerFromThisUID(t *testing.T) {
	node := deletedNode(nil)
	b := newTest(t, node)
	c := b.loaded(node, &api.Run{Node: "worker", NodeUID: "uid", State: api.Succeeded})
	if done := b.release(t.Context(), c); done.err != nil || !b.states.get("uid").released {
		t.Errorf("the result is %+v", done)
	}
	if patches := b.patches(); len(patches) != 1 || patches[0] != `{"metadata":{"$deleteFromPrimitiveList/finalizers":["nodecleanup.io/finalizer"],"uid":"uid"}}` {
		t.Errorf("patches %q", patches)
	}
	b.wantEvent("CleanupCompleted")
}

// The API server answers a failed JSON patch test with 422, like a failed validation.
func TestDrainedNodeIsReleasedOnlyWhileItIsCordoned(t *testing.T) {
	rejected := func() error {
		return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "PATCH", corev1.Resource("nodes"), "worker", "test failed", 0, false)
	}
	for name, test := range map[string]struct {
		step     api.StepRun
		cordoned bool
		deleted  bool
		answer   error
		tests    bool
		want     error
		released bool
	}{
		"no drain":                  {step: api.StepRun{Plugin: "logger", State: api.StepSucceeded}, released: true},
		"an optional drain failed":  {step: api.StepRun{Plugin: "drain", State: api.StepFailed}, released: true},
		"cordoned":                  {step: api.StepRun{Plugin: "drain", State: api.StepSucceeded}, cordoned: true, tests: true, released: true},
		"uncordoned":                {step: api.StepRun{Plugin: "drain", State: api.StepSucceeded}, answer: rejected(), tests: true, want: errUncordoned},
		"deleted":                   {step: api.StepRun{Plugin: "drain", State: api.StepSucceeded}, deleted: true, answer: rejected(), tests: true, released: true},
		"rejected for other causes": {step: api.StepRun{Plugin: "drain", State: api.StepSucceeded}, cordoned: true, answer: rejected(), tests: true, want: rejected()},
	} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(func(node *corev1.Node) {
				node.Finalizers, node.Spec.Unschedulable = []string{"example.com/other", api.Finalizer}, test.cordoned
			})
			b := newTest(t, node)
			b.metadata.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, test.answer })
			c := b.loaded(node, &api.Run{Node: "worker", NodeUID: "uid", State: api.Succeeded, Steps: []api.StepRun{test.step}})
			if test.deleted {
				if err := b.client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("nodes"), "", "worker"); err != nil {
					t.Fatal(err)
				}
			}
			done := b.release(t.Context(), c)
			if test.want == nil && done.err != nil || test.want != nil && (done.err == nil || !strings.Contains(done.err.Error(), test.want.Error())) || b.states.get("uid").released != test.released {
				t.Errorf("the result is %+v", done)
			}
			patches := b.patches()
			if len(patches) != 1 || strings.Contains(patches[0], `{"op":"test","path":"/spec/unschedulable","value":true}`) != test.tests {
				t.Errorf("patches %q", patches)
			}
			if test.tests && !strings.HasSuffix(patches[0], `{"op":"test","path":"/metadata/finalizers/1","value":"nodecleanup.io/finalizer"},{"op":"remove","path":"/metadata/finalizers/1"}]`) {
				t.Errorf("patches %q", patches)
			}
		})
	}
}

func TestFailedReleaseIsReported(t *testing.T) {
	node := deletedNode(nil)
	b := newTest(t, node)
	b.metadata.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("nodes"), "worker", errors.New("nobody touches this"))
	})
	c := b.loaded(node, &api.Run{Node: "worker", NodeUID: "uid", State: api.Succeeded})
	if done := b.release(t.Context(), c); done.err == nil || b.states.get("uid").released {
		t.Errorf("the result is %+v", done)
	}
	if said := b.condition(); !strings.Contains(said, "nobody touches this") || !strings.Contains(said, `"reason":"Blocked"`) {
		t.Errorf("the condition says %q", said)
	}
	b.wantNoEvent()
}

// A Node that is not released counts as Blocked also after its record was read again, for example
// because another client changed the Node.
func TestUnreleasedNodeStaysBlocked(t *testing.T) {
	for name, hold := range map[string]func(*bench, *cleanup) error{
		"the release failed": func(b *bench, c *cleanup) error { return b.publishUnreleased(t.Context(), c, errors.New("boom")) },
		"the run failed twice": func(b *bench, c *cleanup) error {
			b.onInterrupted(t.Context(), c, errors.New("boom"))
			b.onInterrupted(t.Context(), c, errors.New("boom"))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(nil)
			b := newTest(t, node)
			c := b.loaded(node, &api.Run{Node: "worker", NodeUID: "uid", PlanHash: "p", State: api.Succeeded})
			if err := b.save(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if err := hold(b, c); err != nil {
				t.Fatal(err)
			}
			again := b.cleanup(node)
			if done := b.load(t.Context(), again); done.err != nil || again.record.State != api.Succeeded {
				t.Fatalf("the result is %+v, the record %+v", done, again.record)
			}
			if unfinished := b.stats().Unfinished; unfinished[api.Blocked] != 1 {
				t.Errorf("the metrics count %v", unfinished)
			}
			b.startRun(t.Context(), again)
			b.states.runs.Wait()
			if b.states.get("uid").held {
				t.Error("the next run does not end it")
			}
		})
	}
}

func TestOnInterrupted(t *testing.T) {
	for name, test := range map[string]struct {
		err     error
		prepare func(*bench)
		// state that is recorded, "" for none; says is in the condition; backsOff in time.
		state    api.State
		says     string
		backsOff time.Duration
	}{
		"once":                   {err: errors.New("boom"), backsOff: firstRetry},
		"twice":                  {err: errors.New("boom"), prepare: func(b *bench) { b.states.update("uid", func(s *nodeState) { s.failures = 1 }) }, says: "cleanup interrupted, retrying: boom", backsOff: 2 * firstRetry},
		"the node is deleted":    {err: fmt.Errorf("running: %w", errNodeDeleted), state: api.Failed},
		"this agent released it": {err: errNodeDeleted, prepare: func(b *bench) { b.states.update("uid", func(s *nodeState) { s.released = true }) }},
		"a withdrawn request":    {err: errWithdrawn},
		"the leadership is lost": {err: errors.New("boom"), prepare: func(b *bench) { b.fence = errors.New("not the leader") }},
		"an invalid node":        {err: nodepatch.InvalidError{Cause: errors.New("duplicate address")}, backsOff: invalidRetry},
	} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(nil)
			b := newTest(t, node)
			c := b.loaded(node, nil)
			if test.prepare != nil {
				test.prepare(b)
			}
			b.onInterrupted(t.Context(), c, test.err)
			run := b.stored()
			if (run == nil) != (test.state == "") || run != nil && run.State != test.state {
				t.Errorf("the record is %+v", run)
			}
			if said := b.condition(); test.says != "" && !strings.Contains(said, test.says) || test.backsOff == firstRetry && said != "" {
				t.Errorf("the condition says %q", said)
			}
			at := b.states.get("uid").retryAt
			if want := started.Add(test.backsOff); test.backsOff == 0 && !at.IsZero() || test.backsOff > 0 && !at.Equal(want) {
				t.Errorf("it continues at %s", at)
			}
		})
	}
}

// TestReconcileOfADeletedNode runs the phases as a worker and a run do.
func TestReconcileOfADeletedNode(t *testing.T) {
	node := deletedNode(nil)
	b := newTest(t, node)
	calls := 0
	b.step("storage", pluginFunc(func() error { calls++; return nil }))
	if after, err := b.reconcile(t.Context(), "worker"); err != nil || after != 0 {
		t.Fatalf("after %s, %v", after, err)
	}
	b.states.runs.Wait()
	if run := b.stored(); calls != 1 || run.State != api.Succeeded || len(b.patches()) != 1 || b.states.active != 0 {
		t.Errorf("%d calls, record %+v, patches %q", calls, run, b.patches())
	}
	if b.queue.Len() == 0 {
		t.Error("the end of the run does not reconcile the node again")
	}
	if _, err := b.reconcile(t.Context(), "worker"); err != nil || len(b.patches()) != 1 {
		t.Errorf("the released node is reconciled again: %v, patches %q", err, b.patches())
	}
}

// A leader that sees a deletion expects no record. One that is there all the same stops the
// run before its first step, and the next reconcile reads it.
func TestExistingRecordIsReadBeforeAnyStep(t *testing.T) {
	node := deletedNode(nil)
	b := newTest(t)
	calls := 0
	b.step("storage", pluginFunc(func() error { calls++; return nil }))
	if err := b.client.Tracker().Add(node); err != nil {
		t.Fatal(err)
	}
	live := b.seen(makeNode(nil))
	b.NodeUpdated(live, b.seen(node))
	if !b.states.get("uid").unrecorded {
		t.Fatal("the deletion was not seen")
	}
	at := metav1.NewTime(started)
	record, err := api.EncodeRun("ns", &api.Run{
		Node: "worker", NodeUID: "uid", State: api.Failed, Message: "no disk", ConfigHash: "config", PlanHash: "p", DeletionRequestedAt: &at,
		Steps: []api.StepRun{{Name: "storage", Plugin: "test", State: api.StepFailed, Attempts: 6}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.client.Tracker().Add(record); err != nil {
		t.Fatal(err)
	}
	if _, err := b.reconcile(t.Context(), "worker"); err != nil {
		t.Fatal(err)
	}
	b.states.runs.Wait()
	b.clock.Step(firstRetry)
	if _, err := b.reconcile(t.Context(), "worker"); err != nil {
		t.Fatal(err)
	}
	b.states.runs.Wait()
	if run := b.stored(); calls != 0 || run.State != api.Failed || run.Steps[0].Attempts != 6 || len(b.patches()) != 0 {
		t.Errorf("%d calls, record %+v, patches %q", calls, run, b.patches())
	}
	if said := b.condition(); !strings.Contains(said, "no disk") {
		t.Errorf("the condition says %q", said)
	}
	b.wantNoEvent() // That the cleanup started was published by the run that created the record.
	if !b.states.get("uid").ranAt.IsZero() {
		t.Error("a run that saved nothing counts")
	}
}

func TestConcludePublishesWhyItIsBlocked(t *testing.T) {
	node := deletedNode(nil)
	b := newTest(t, node)
	c := b.loaded(node, nil)
	after, err := b.conclude(t.Context(), c, result{stop: true, blocked: "no power", after: time.Minute, err: context.DeadlineExceeded})
	if after != time.Minute || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(b.condition(), "no power") {
		t.Errorf("after %s, %v, condition %q", after, err, b.condition())
	}
	if after, err = b.conclude(t.Context(), c, failed(nodepatch.InvalidError{Cause: errors.New("duplicate address")})); after != invalidRetry || err != nil {
		t.Errorf("an invalid node: after %s, %v", after, err)
	}
	b.wantEvent("NodeInvalid")
}

// withdraws is a plugin that counts its withdrawals, the first of which fails.
type withdraws struct {
	pluginFunc
	calls *int
}

func (w withdraws) Withdraw(context.Context, contract.Target) error {
	if *w.calls++; *w.calls == 1 {
		return errors.New("the responder does not answer")
	}
	return nil
}

func TestCanceledCleanupIsWithdrawnBeforeTheUncordon(t *testing.T) {
	node := makeNode(func(node *corev1.Node) {
		node.Spec.Unschedulable, node.Annotations = true, map[string]string{api.AnnotationCordonedBy: api.Agent}
	})
	b := newTest(t, node)
	cordoned := func() bool {
		current, err := b.client.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return current.Spec.Unschedulable
	}
	calls := 0
	b.step("drain", withdraws{pluginFunc: func() error { return nil }, calls: &calls})
	c := b.loaded(node, nil)
	c.record.CleanupRequestedAt = "2026-01-31T03:59:00Z"
	if done := b.onRequest(t.Context(), c); done.err == nil || !strings.Contains(done.err.Error(), "the responder does not answer") {
		t.Fatalf("the withdrawal failed: %+v", done)
	}
	if !cordoned() {
		t.Error("the node was uncordoned before the withdrawal")
	}
	if done := b.onRequest(t.Context(), c); done.err != nil || calls != 2 {
		t.Errorf("%d calls, %v", calls, done.err)
	}
	if cordoned() {
		t.Error("the node is still cordoned")
	}
}
