package soak_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/soak/checker"
)

// recovery is how long the remaining cleanups may take when everything is repaired.
const recovery = 6 * time.Minute

// TestSoak runs actions of users and faults for a while. Then it repairs all faults and deletes
// all nodes. The checker examines every release.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes")
	}
	for *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("to repeat the actions: go test ./test/soak -seed=%d -duration=%s -nodes=%d -rate=%g", *seed, *duration, *nodeCount, *rate)
	w := newWorld(t, *seed)
	w.deploy()
	w.eventually(2*time.Minute, "the nodes are there", func(ctx context.Context) (bool, error) {
		w.keepNodes(ctx)
		return len(w.nodes(live, held)) >= *nodeCount, nil
	})
	w.breakThings()
	w.recover()
	w.report()
}

// breakThings runs one action after the other for the duration of the test.
func (w *world) breakThings() {
	end := time.Now().Add(*duration)
	tick := time.NewTicker(time.Duration(float64(time.Second) / *rate))
	defer tick.Stop()
	// A run that is interrupted has shown something, too.
	progress := time.NewTicker(time.Minute)
	defer progress.Stop()
	for time.Now().Before(end) {
		select {
		case <-w.Context().Done():
			return
		case <-progress.C:
			w.summarize()
		case <-tick.C:
		}
		w.repair(w.Context(), false)
		w.keepNodes(w.Context())
		w.removeOtherFinalizers(w.Context())
		w.act(w.Context())
	}
}

// recover repairs everything, and waits until every deleted node is released. Then it deletes the
// other nodes, and waits again.
func (w *world) recover() {
	w.eventually(time.Minute, "everything is repaired", func(ctx context.Context) (bool, error) {
		w.repair(ctx, true)
		return len(w.outages) == 0, nil
	})
	w.repairs.Wait()
	w.eventually(time.Minute, "the budgets are deleted", func(ctx context.Context) (bool, error) {
		err := w.removeBudgets(ctx)
		return err == nil, err
	})
	w.awaitReleases()
	w.eventually(time.Minute, "every live node is protected, and cordoned by the agent only on request", func(context.Context) (bool, error) {
		for _, node := range w.nodes(live) {
			if !held(node) || !requested(node) && node.Annotations[api.AnnotationCordonedBy] != "" {
				return false, fmt.Errorf("%s, annotations %q", describe(node), node.Annotations)
			}
		}
		return true, nil
	})
	for _, node := range w.nodes() {
		if err := w.admin.CoreV1().Nodes().Delete(w.Context(), node.Name, metav1.DeleteOptions{}); err != nil {
			w.Errorf("deleting node %s: %v", node.Name, err)
		}
	}
	w.awaitReleases()
	for _, node := range w.nodes() {
		w.Errorf("node %s still exists: finalizers %q", node.Name, node.Finalizers)
	}
	// An agent that starts to lead finds what happened while there was no leader.
	for _, a := range w.agents {
		if err := a.kill(); err != nil {
			w.Error(err)
		}
	}
	for _, a := range w.agents {
		if err := a.start(w.Context()); err != nil {
			w.Error(err)
		}
	}
	w.eventually(time.Minute, "no run record is open", func(context.Context) (bool, error) {
		w.checking.Lock()
		defer w.checking.Unlock()
		if open := w.checker.Open(); len(open) > 0 {
			return false, fmt.Errorf("%d records are open, one of them: %s", len(open), open[0])
		}
		return true, nil
	})
}

// awaitReleases waits until no node terminates. It requests a retry of each cleanup that failed, or
// that is blocked because its host rebooted, as an operator does, and counts that.
func (w *world) awaitReleases() {
	w.Helper()
	began := time.Now()
	retried := map[types.UID]time.Time{}
	w.eventually(recovery, "all deleted nodes are released", func(ctx context.Context) (bool, error) {
		w.removeOtherFinalizers(ctx)
		left := w.nodes(terminating)
		for _, node := range left {
			condition := api.CleanupConditionOf(node)
			if condition == nil || condition.Reason != string(api.Failed) && condition.Reason != string(api.Blocked) || time.Since(retried[node.UID]) < 10*time.Second {
				continue
			}
			w.counted.add("retry at the end, of a cleanup in state " + condition.Reason)
			retried[node.UID] = time.Now()
			if err := w.annotate(ctx, node, fmt.Sprintf("%q:%q", api.AnnotationRetryRequestedAt, now())); err != nil {
				return false, err
			}
		}
		if len(left) > 0 {
			return false, fmt.Errorf("%d are left, one of them: %s", len(left), describe(left[0]))
		}
		return true, nil
	})
	w.Logf("all deleted nodes were released %s after everything was repaired", time.Since(began).Round(time.Second))
}

func describe(node *corev1.Node) string {
	text := fmt.Sprintf("node %s, finalizers %q", node.Name, node.Finalizers)
	if condition := api.CleanupConditionOf(node); condition != nil {
		text += fmt.Sprintf(", %s: %s", condition.Reason, condition.Message)
	}
	return text
}

// report fails the test for each violation.
func (w *world) report() {
	w.Logf("what happened:%s", w.counted.String())
	report := w.summarize()
	for _, race := range report.Races {
		w.Logf("race: %s", race)
	}
	for _, violation := range report.Violations {
		w.Errorf("violation: %s", violation)
	}
	for _, a := range w.agents {
		log, err := os.ReadFile(a.process.Log())
		if err != nil {
			w.Error(err)
		}
		for _, bad := range []string{"panic", "fatal error:"} {
			if at := bytes.Index(log, []byte(bad)); at >= 0 {
				w.Errorf("the log of %s has a %s: %s", a.name, bad, log[at:min(at+1000, len(log))])
			}
		}
	}
	if report.Released == 0 {
		w.Error("no node was released: this proves nothing")
	}
}

// summarize logs the findings of the checker so far, and returns them.
func (w *world) summarize() checker.Report {
	w.checking.Lock()
	defer w.checking.Unlock()
	report := w.checker.Report()
	w.Logf("%d nodes were released after their cleanup, %d were bypassed, %d lost their finalizer by hand; %d races, %d violations",
		report.Released, report.Bypassed, report.Overridden, len(report.Races), len(report.Violations))
	return report
}
