package pruner

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	testclock "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// record returns the record of a Node that is deleted.
func record(t *testing.T, node string, state api.State, at time.Time) *corev1.ConfigMap {
	t.Helper()
	run := &api.Run{Node: node, NodeUID: types.UID(node), State: state, StartedAt: metav1.NewTime(at)}
	if state.Released() {
		run.FinishedAt = &run.StartedAt
	}
	configMap, err := api.EncodeRun("ns", run)
	if err != nil {
		t.Fatal(err)
	}
	return configMap
}

// Another policy, or a quota, can refuse the write of one record for ever.
func TestUnwritableRecordDoesNotBlockPruning(t *testing.T) {
	now := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	old, recent := now.Add(-48*time.Hour), now.Add(-time.Hour)
	client := fake.NewClientset(
		record(t, "a-refused", api.Waiting, old), record(t, "b-open", api.Waiting, recent), record(t, "c-old", api.Succeeded, old),
		record(t, "d-kept", api.Succeeded, old), record(t, "e-recent", api.Succeeded, recent),
		record(t, "f-deleted", api.Succeeded, old), record(t, "g-replaced", api.Succeeded, old),
	)
	refused := errors.New("admission webhook denied the request")
	refuses := func(verb, node string, err error) {
		client.PrependReactor(verb, "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
			name := ""
			switch action := action.(type) {
			case clienttesting.UpdateAction:
				name = action.GetObject().(*corev1.ConfigMap).Name
			case clienttesting.DeleteAction:
				name = action.GetName()
			}
			return strings.HasPrefix(name, "run-"+node), nil, err
		})
	}
	refuses("update", "a-refused", refused)
	refuses("delete", "d-kept", refused)
	// Another client deletes these two, so they do not count as deleted by this agent.
	refuses("delete", "f-deleted", apierrors.NewNotFound(corev1.Resource("configmaps"), "f"))
	refuses("delete", "g-replaced", apierrors.NewConflict(corev1.Resource("configmaps"), "g", errors.New("the UID does not match")))
	var removed []string
	p := &Pruner{
		ConfigMaps:  client.CoreV1().ConfigMaps("ns"),
		Nodes:       client.CoreV1().Nodes(),
		NodeRemoved: func(run *api.Run) { removed = append(removed, run.Node) },
		History:     func() config.History { return config.History{MaxAge: 24 * time.Hour, MaxRuns: 10} },
		Fence:       func() error { return nil },
		Clock:       testclock.NewFakeClock(now),
		Log:         slog.New(slog.DiscardHandler),
	}
	deleted, err := p.prune(t.Context(), func() sets.Set[types.UID] { return nil }, nil)
	for _, what := range []string{"closing run record run-a-refused-", "deleting run record run-d-kept-"} {
		if !errors.Is(err, refused) || !strings.Contains(fmt.Sprint(err), what) {
			t.Errorf("the error is %v, want %q in it", err, what)
		}
	}
	list, listErr := p.ConfigMaps.List(t.Context(), metav1.ListOptions{})
	if listErr != nil {
		t.Fatal(listErr)
	}
	var left []string
	for i := range list.Items {
		left = append(left, api.RunNode(&list.Items[i]))
	}
	slices.Sort(left)
	if want := []string{"a-refused", "b-open", "d-kept", "e-recent", "f-deleted", "g-replaced"}; deleted != 1 || !slices.Equal(left, want) || !slices.Equal(removed, []string{"b-open"}) {
		t.Errorf("%d deleted, left %q, want %q; closed %q", deleted, left, want, removed)
	}
}
