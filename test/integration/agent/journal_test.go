package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// inJournal returns what the journal says of each run that it holds.
func (f *fixture) inJournal(ctx context.Context) (map[string]string, error) {
	journal, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(ctx, api.JournalName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return journal.Data, nil
}

// journal takes it over, as a leader whose term is the test.
func (f *fixture) journal() *runrecord.Journal {
	f.Helper()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(f.Context()))
	journal := runrecord.NewStore(f.client.CoreV1(), f.namespace).Journal(ctx, clock.RealClock{}, slog.New(slog.NewTextHandler(f.Output(), nil)), cancel)
	f.Cleanup(func() { cancel(nil); journal.Wait() })
	if err := journal.Take(f.Context()); err != nil {
		f.Fatal(err)
	}
	return journal
}

// crowdOf makes and deletes so many nodes at once.
func (f *fixture) crowdOf(n int) []*corev1.Node {
	f.Helper()
	nodes := make([]*corev1.Node, n)
	for i := range nodes {
		nodes[i] = f.protected(fmt.Sprintf("worker-%d", i))
	}
	for _, node := range nodes {
		f.delete(node)
	}
	return nodes
}

// TestNoStepBeginsBeforeItIsRecordedInACrowdEither: each step asks the API server whether the
// run that it is of is in the journal or has a record of its own.
func TestNoStepBeginsBeforeItIsRecordedInACrowdEither(t *testing.T) {
	f := setUp(t, "concurrency: {nodes: 40}\nsteps:\n- {name: storage, plugin: probe}\n")
	var mutex sync.Mutex
	inJournal, own := 0, 0
	f.probes[""] = func(ctx context.Context, target cleanup.Target) error {
		name := api.RunName(target.Node.Name, target.Node.UID)
		held, err := f.inJournal(ctx)
		if err != nil {
			return err
		}
		_, written := held[name]
		_, err = f.client.CoreV1().ConfigMaps(f.namespace).Get(ctx, name, metav1.GetOptions{})
		mutex.Lock()
		defer mutex.Unlock()
		switch {
		case written:
			inJournal++
		case err == nil:
			own++
		default:
			t.Errorf("the step of node %s began, and there is no record of that: %v", target.Node.Name, err)
		}
		return nil
	}
	nodes := f.crowdOf(60) // Before anybody leads: then all are there at once.
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	f.start(f.options())
	for _, node := range nodes {
		f.awaitGone(node)
		if run := f.record(node); run.State != api.Succeeded || run.Steps[0].Attempts != 1 {
			t.Errorf("the record of node %s says %+v", node.Name, run)
		}
	}
	if inJournal == 0 {
		t.Errorf("no run was in the journal, %d had records of their own: this proves little", own)
	}
	f.eventually("the journal is empty", func(ctx context.Context) (bool, error) {
		held, err := f.inJournal(ctx)
		return len(held) == 0, err
	})
	requests, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	writes := 0
	for _, request := range requests {
		if request.Name == api.JournalName && request.Verb == "update" && request.Stage == "ResponseComplete" {
			writes++
		}
	}
	if writes >= inJournal {
		t.Errorf("the journal was written %d times for %d runs: none went together", writes, inJournal)
	}
}

// TestTheNextLeaderGoesOnWithWhatOnlyTheJournalHolds: own records are refused, so that the
// journal is all there is when the first leader ends in the middle.
func TestTheNextLeaderGoesOnWithWhatOnlyTheJournalHolds(t *testing.T) {
	const crowd = 20
	f := setUp(t, "concurrency: {nodes: 40}\nsteps:\n- {name: storage, plugin: probe}\n")
	type call struct {
		key     string
		attempt int
	}
	var mutex sync.Mutex
	calls := map[call]int{}
	first := true
	began := make(chan struct{}, 10*crowd)
	f.probes[""] = func(ctx context.Context, target cleanup.Target) error {
		mutex.Lock()
		calls[call{target.IdempotencyKey, target.Attempt}]++
		hang := first
		mutex.Unlock()
		began <- struct{}{}
		if hang {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	nodes := f.crowdOf(crowd)
	allow := f.refuseRecords()
	stop := f.start(f.options())
	f.eventually("runs are in the journal", func(ctx context.Context) (bool, error) {
		held, err := f.inJournal(ctx)
		return len(held) > 0, ignoreNotFound(err)
	})
	<-began
	stop()
	mutex.Lock()
	first = false
	interrupted := map[call]int{}
	for made, times := range calls {
		interrupted[made] = times
	}
	mutex.Unlock()
	allow()
	f.start(f.options())
	for _, node := range nodes {
		f.awaitGone(node)
	}
	mutex.Lock()
	defer mutex.Unlock()
	if len(interrupted) == 0 {
		t.Error("no step was interrupted: this proves nothing")
	}
	for made, times := range interrupted {
		if made.attempt != 1 || times != 1 {
			t.Errorf("the first leader made call %+v %d times", made, times)
		}
		if again := calls[call{made.key, 2}]; again != 1 {
			t.Errorf("the step with key %s was interrupted, and called %d times as its second attempt", made.key, again)
		}
		if calls[made] != 1 {
			t.Errorf("the step with key %s was called as if it were the first time: its beginning was lost", made.key)
		}
	}
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// TestALeaderWhoseJournalWasTakenOverBeginsNoRun: it need not know yet that it leads no more.
func TestALeaderWhoseJournalWasTakenOverBeginsNoRun(t *testing.T) {
	f := setUp(t, logOnly)
	run := func(name string) *api.Run {
		return &api.Run{Node: name, NodeUID: types.UID(name + "-uid"), State: api.Running, StartedAt: metav1.Now()}
	}
	old := f.journal()
	if err := old.None(true).Save(t.Context(), run("before")); err != nil {
		t.Fatal(err)
	}
	next := f.journal()
	after := run("after")
	if err := old.None(true).Save(t.Context(), after); err == nil {
		t.Error("the old leader could begin a run")
	}
	if found, _, err := next.Load(t.Context(), after.Node, after.NodeUID, true); found != nil || err != nil {
		t.Errorf("it is recorded as %+v, %v", found, err)
	}
	if err := next.None(true).Save(t.Context(), after); err != nil {
		t.Errorf("the new leader cannot begin it: %v", err)
	}
	if found, _, err := next.Load(t.Context(), "before", run("before").NodeUID, true); err != nil || found == nil || found.State != api.Running {
		t.Errorf("what the old one began is %+v, %v", found, err)
	}
}

// TestWhatOthersDoToTheJournalStopsNoRun: controllers stamp ConfigMaps, and somebody clears a namespace.
func TestWhatOthersDoToTheJournalStopsNoRun(t *testing.T) {
	f := setUp(t, logOnly)
	journal := f.journal()
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	for how, do := range map[string]func() error{
		"labelled": func() error {
			_, err := configMaps.Patch(t.Context(), api.JournalName, types.MergePatchType, []byte(`{"metadata":{"labels":{"theirs":"yes"}}}`), metav1.PatchOptions{})
			return err
		},
		"stripped": func() error {
			_, err := configMaps.Patch(t.Context(), api.JournalName, types.MergePatchType, []byte(`{"metadata":{"annotations":null,"labels":null}}`), metav1.PatchOptions{})
			return err
		},
		"deleted": func() error { return configMaps.Delete(t.Context(), api.JournalName, metav1.DeleteOptions{}) },
	} {
		t.Run(how, func(t *testing.T) {
			if err := do(); err != nil {
				t.Fatal(err)
			}
			run := &api.Run{Node: how, NodeUID: types.UID(how), State: api.Running, StartedAt: metav1.Now()}
			handle := journal.None(true)
			if err := handle.Save(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			held, err := f.in(t).inJournal(t.Context())
			if err != nil || held[api.RunName(how, types.UID(how))] == "" {
				t.Errorf("the journal holds %v, %v", held, err)
			}
			f.in(t).eventually("the run has a record of its own", func(ctx context.Context) (bool, error) {
				_, err := configMaps.Get(ctx, api.RunName(how, types.UID(how)), metav1.GetOptions{})
				return err == nil, ignoreNotFound(err)
			})
			run.State = api.Succeeded
			if err := handle.Save(t.Context(), run); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestAJournalThatIsOnItsWayOutStopsNoRun: the API server would remove it with the next write.
func TestAJournalThatIsOnItsWayOutStopsNoRun(t *testing.T) {
	f := setUp(t, logOnly)
	journal := f.journal()
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	finalizers := func(finalizers string) {
		t.Helper()
		if _, err := configMaps.Patch(t.Context(), api.JournalName, types.MergePatchType, []byte(`{"metadata":{"finalizers":`+finalizers+`}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["test.nodecleanup.io/theirs"]`)
	if err := configMaps.Delete(t.Context(), api.JournalName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	run := &api.Run{Node: "worker", NodeUID: "uid", State: api.Running, StartedAt: metav1.Now()}
	if err := journal.None(true).Save(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if _, err := configMaps.Get(t.Context(), api.RunName("worker", "uid"), metav1.GetOptions{}); err != nil {
		t.Errorf("the run may begin, and is recorded nowhere: %v", err)
	}
	finalizers("null")
}

// TestALeaderWhoseJournalWasReplacedBeginsANewTerm: it cannot tell that from another leader.
func TestALeaderWhoseJournalWasReplacedBeginsANewTerm(t *testing.T) {
	f := setUp(t, "concurrency: {nodes: 40}\nsteps:\n- {name: storage, plugin: probe}\n")
	open := make(chan struct{}) // Until then more and more go on at once.
	f.probes[""] = func(ctx context.Context, _ cleanup.Target) error {
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	options, log := f.logged()
	f.start(options)
	f.awaitLog(log, "watching nodes")
	f.eventually("the journal is there", func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().ConfigMaps(f.namespace).Patch(ctx, api.JournalName, types.MergePatchType,
			[]byte(`{"metadata":{"annotations":{"`+api.AnnotationJournalHolder+`":"from a backup"}}}`), metav1.PatchOptions{})
		return err == nil, ignoreNotFound(err)
	})
	nodes := f.crowdOf(20)
	f.awaitLog(log, "this term as the leader has ended")
	close(open)
	for _, node := range nodes {
		f.awaitGone(node)
	}
}

// TestWhereNoRecordCanBeWrittenNoMoreOfACrowdBegins than have begun at once: what they did could
// not be recorded.
func TestWhereNoRecordCanBeWrittenNoMoreOfACrowdBegins(t *testing.T) {
	const crowd, together = 60, 15
	f := setUp(t, fmt.Sprintf("concurrency: {nodes: %d}\nsteps:\n- {name: storage, plugin: probe}\n", together))
	var mutex sync.Mutex
	calls := map[string]int{}
	f.probes[""] = func(_ context.Context, target cleanup.Target) error {
		mutex.Lock()
		defer mutex.Unlock()
		calls[target.IdempotencyKey]++
		return nil
	}
	nodes := f.crowdOf(crowd)
	allow := f.refuseRecords()
	f.start(f.options())
	// Each has been tried twice when it says so.
	blocked := func(ctx context.Context) (bool, error) {
		list, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		n := 0
		for _, node := range list.Items {
			for _, condition := range node.Status.Conditions {
				if condition.Type == api.ConditionCleanup && condition.Reason == string(api.Blocked) {
					n++
				}
			}
		}
		return n > together, nil
	}
	f.eventually("more are blocked than could begin at once", blocked)
	mutex.Lock()
	if len(calls) == 0 || len(calls) > together {
		t.Errorf("%d began without a record of their own, and up to %d could when the first was found out", len(calls), together)
	}
	for key, times := range calls {
		if times != 1 {
			t.Errorf("%s was called %d times and never recorded", key, times)
		}
	}
	mutex.Unlock()
	allow()
	for _, node := range nodes {
		f.awaitGone(node)
	}
}

// TestARefusedJournalStopsNoCleanup: an admission policy of somebody else refuses what it does
// not know, at first or when the agent leads already.
func TestARefusedJournalStopsNoCleanup(t *testing.T) {
	for name, led := range map[string]bool{"from the start": false, "while it leads": true} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, "concurrency: {nodes: 40}\nsteps:\n- {name: storage, plugin: probe}\n")
			f.probes[""] = func(ctx context.Context, target cleanup.Target) error {
				_, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(ctx, api.RunName(target.Node.Name, target.Node.UID), metav1.GetOptions{})
				return err
			}
			if led {
				f.start(f.options())
				f.eventually("the journal is there", func(ctx context.Context) (bool, error) {
					_, err := f.inJournal(ctx)
					return err == nil, ignoreNotFound(err)
				})
			}
			f.refuse("", "configmaps", "!object.metadata.name.startsWith('"+api.JournalName+"')", func(ctx context.Context, client kubernetes.Interface) error {
				_, err := client.CoreV1().ConfigMaps(f.namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: api.JournalName + "-probe"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return err
			})
			nodes := f.crowdOf(30)
			if !led {
				f.start(f.options())
			}
			for _, node := range nodes {
				f.awaitGone(node)
				if run := f.record(node); run.State != api.Succeeded || run.Steps[0].Attempts != 1 {
					t.Errorf("the record of node %s says %+v", node.Name, run)
				}
			}
		})
	}
}

// TestAnAgentThatIsKilledAtTheJournal kills the agent's process right before and right after a
// write of the journal that has runs begin. Before: their steps begin once, after the next
// start. After: that is a second attempt, for the first may have begun.
func TestAnAgentThatIsKilledAtTheJournal(t *testing.T) {
	const crowd = 20
	for moment, attempts := range map[string]int{"before": 1, "after": 2} {
		t.Run(moment, func(t *testing.T) {
			var mutex sync.Mutex
			calls := map[string]int{}
			inventory := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
				mutex.Lock()
				defer mutex.Unlock()
				calls[request.Header.Get("Idempotency-Key")]++
			}))
			defer inventory.Close()
			f := setUp(t, "concurrency: {nodes: 40}\nsteps:\n- {name: tell, plugin: http, options: {url: \""+inventory.URL+"\"}}\n")
			proxy := f.between()
			agent := f.processWith(proxy.kubeconfig(f))
			nodes := f.crowdOf(crowd)
			written := map[string]bool{} // The runs that the write is about.
			killed := make(chan struct{})
			var once sync.Once
			atJournal := func(r *http.Request) bool {
				if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/configmaps/"+api.JournalName) || !sends(r, "run-worker-") {
					return false
				}
				once.Do(func() {
					for _, node := range nodes {
						if sends(r, api.RunName(node.Name, node.UID)) {
							written[api.RunName(node.Name, node.UID)] = true
						}
					}
					if err := agent.Kill(); err != nil {
						t.Error(err)
					}
					close(killed)
				})
				return true
			}
			if moment == "before" {
				proxy.put(atJournal, nil)
			} else {
				proxy.put(nil, func(r *http.Request) { atJournal(r) })
			}
			if err := agent.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-killed
			proxy.put(nil, nil)
			mutex.Lock()
			for _, node := range nodes {
				if name := api.RunName(node.Name, node.UID); written[name] && calls[string(node.UID)+"/tell"] > 0 {
					t.Errorf("%s: its step was called before the journal was written", name)
				}
			}
			mutex.Unlock()
			if err := agent.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, node := range nodes {
				f.awaitGone(node)
			}
			if err := agent.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, node := range nodes {
				run := f.record(node)
				if run.State != api.Succeeded || calls[string(node.UID)+"/tell"] == 0 {
					t.Errorf("node %s went after %d calls of its step, the record says %+v", node.Name, calls[string(node.UID)+"/tell"], run)
				}
				if written[api.RunName(node.Name, node.UID)] && (run.Steps[0].Attempts != attempts || calls[string(node.UID)+"/tell"] != 1) {
					t.Errorf("node %s, of which the journal was to tell: %d attempts and %d calls, want %d and 1", node.Name, run.Steps[0].Attempts, calls[string(node.UID)+"/tell"], attempts)
				}
			}
		})
	}
}
