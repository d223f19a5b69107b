package guard

import (
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// One read serves the Nodes that are deleted at once; a Node that is deleted later is read again.
func TestDeletionsAreReadOnceForManyNodes(t *testing.T) {
	started := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	ledger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.GuardName}, Data: map[string]string{}}
	record := func(uid, user string, at time.Time) {
		encoded, err := json.Marshal(api.Deletion{Node: uid, User: user, At: metav1.NewMicroTime(at)})
		if err != nil {
			t.Fatal(err)
		}
		ledger.Data[uid] = string(encoded)
	}
	record("a", "jane", started)
	record("b", "joe", started)
	client := fake.NewClientset(ledger)
	clock := clocktesting.NewFakeClock(started.Add(time.Minute))
	deletions := NewDeletions(client, "ns", clock)
	want := func(uid types.UID, deleted time.Time, user string, reads int) {
		t.Helper()
		at := metav1.NewTime(deleted)
		deletion, found, err := deletions.Of(t.Context(), &metav1.ObjectMeta{Name: string(uid), UID: uid, DeletionTimestamp: &at})
		if err != nil || found != (user != "") || deletion.User != user {
			t.Errorf("%s was deleted by %q, found %v, %v; want %q", uid, deletion.User, found, err, user)
		}
		if got := len(client.Actions()); got != reads {
			t.Errorf("%s: %d reads, want %d", uid, got, reads)
		}
	}
	want("a", started, "jane", 1)
	want("b", started, "joe", 1)
	want("nobody-asked", started, "", 1)

	later := started.Add(time.Minute)
	record("c", "jill", later)
	if _, err := client.CoreV1().ConfigMaps("ns").Update(t.Context(), ledger, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	client.ClearActions()
	want("c", later, "jill", 1)
	want("just-deleted", later, "", 2)
}
