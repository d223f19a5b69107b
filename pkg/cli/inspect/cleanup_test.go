package inspect

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// The agent writes the run record first and the condition a moment later.
func TestCleanupShowsTheRecordOfTheCondition(t *testing.T) {
	for _, test := range []struct {
		condition, record api.State
		want              string
		stuck             bool
	}{
		{api.Running, api.Running, "Running", false},
		{api.Running, api.Failed, "Failed", true},
		{api.Running, api.Waiting, "Waiting", false},
		{api.Blocked, api.Running, "Blocked", true},
		{api.Failed, api.Running, "Failed", true},
		// The API server rejects every update of the node, including updates of a condition.
		{"", api.Failed, "Failed", true},
		{"", api.Running, "Running", false},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", Finalizers: []string{api.Finalizer}}}
		if test.condition != "" {
			node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(test.condition, "c", metav1.Now())}
		}
		row := CleanupRow(node, &api.Run{State: test.record, Message: "r"}, nil, Absence{})
		if row.State != test.want || row.Stuck != test.stuck {
			t.Errorf("condition %s, record %s: %s, stuck %v", test.condition, test.record, row.State, row.Stuck)
		}
	}
}

// A newer agent may write states that this CLI does not know. They are shown unchanged.
func TestCleanupShowsAStateOfANewerVersion(t *testing.T) {
	newer := &api.Run{Node: "worker", NodeUID: "u", State: "Verifying", Steps: []api.StepRun{
		{Name: "drain", State: api.StepSucceeded}, {Name: "bmc", Plugin: "redfish", State: "PoweringOff"}, {Name: "tell", State: api.StepPending},
	}}
	const note = "a newer version wrote run record run-worker-u: this CLI does not know state Verifying, state PoweringOff of step bmc; upgrade it"
	for _, test := range []struct {
		condition, want api.State
		reason          string
		stuck           bool
	}{
		{"", "Verifying", note, false},
		{api.Pending, "Verifying", note, false},
		{api.Running, "Verifying", note, false},
		{"Verifying", "Verifying", "c; " + note, false},
		{"Parked", "Parked", "c; " + note, false},
		{api.Blocked, api.Blocked, "c; " + note, true},
		{api.Failed, api.Failed, "c; " + note, true},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", Finalizers: []string{api.Finalizer}}}
		if test.condition != "" {
			node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(test.condition, "c", metav1.Now())}
		}
		row := CleanupRow(node, newer, nil, Absence{})
		if row.State != string(test.want) || row.Stuck != test.stuck || row.Step != "2/3 bmc" || row.Reason != test.reason {
			t.Errorf("condition %q: %+v", test.condition, row)
		}
	}
}

func TestCleanupReportsTheDecodeError(t *testing.T) {
	broken := &api.RecordError{Record: "run-worker-u", Err: errors.New("unexpected end of JSON input")}
	another := &api.RecordError{Record: "run-worker-u", Err: &api.VersionError{Version: "nodecleanup.io/v1beta1"}}
	for _, test := range []struct {
		condition api.State
		err       error
		want      string
		stuck     bool
		reason    string
	}{
		{api.Running, broken, "Running", true, "cannot decode run record run-worker-u: unexpected end of JSON input. A running step continues, and no other step begins"},
		{api.Waiting, broken, "Blocked", true, "cannot decode run record run-worker-u: unexpected end of JSON input. The cleanup is paused"},
		{api.Blocked, broken, "Blocked", true, "The cleanup is paused"},
		{api.Blocked, another, "Blocked", true, "The cleanup is paused"},
		{api.Running, another, "Running", false, "c; cannot decode run record run-worker-u: version"},
		{api.Failed, another, "Failed", true, "upgrade the CLI"},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", Finalizers: []string{api.Finalizer}}}
		node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(test.condition, "c", metav1.Now())}
		row := CleanupRow(node, nil, test.err, Absence{})
		if row.State != test.want || row.Stuck != test.stuck || !strings.Contains(row.Reason, test.reason) {
			t.Errorf("condition %s, %v: %+v", test.condition, test.err, row)
		}
	}
}

func TestStepThatNeedsAnOperator(t *testing.T) {
	for name, test := range map[string]struct {
		step  api.StepRun
		stuck bool
	}{
		"budget":           {api.StepRun{Critical: true, State: api.StepRunning, Progress: "1 pod remaining: shop/cart-0 (change budget cart, which never allows a disruption: kubectl -n shop edit pdb cart)"}, true},
		"webhook":          {api.StepRun{Critical: true, State: api.StepRunning, Progress: `1 pod remaining: shop/cart-0 (failed calling webhook "evictions.example.com")`}, true},
		"finalizer":        {api.StepRun{Critical: true, State: api.StepRunning, Progress: "1 pod remaining: shop/cart-0 (terminating, blocked by finalizer a/b)"}, true},
		"full budget":      {api.StepRun{Critical: true, State: api.StepRunning, Progress: "1 pod remaining: shop/cart-0 (wait until more of its pods (3) are healthy)"}, false},
		"missing right":    {api.StepRun{Critical: true, State: api.StepRetrying, Failures: 1, LastError: `pods "cart-0" is forbidden`}, true},
		"unmanaged pod":    {api.StepRun{Critical: true, State: api.StepRetrying, Failures: 1, LastError: "not draining node worker, some pods must not be evicted: shop/alone: it has no controller that would create it again (option allowUnmanaged)"}, true},
		"one failure":      {api.StepRun{Critical: true, State: api.StepRetrying, Failures: 1, LastError: "503"}, false},
		"several failures": {api.StepRun{Critical: true, State: api.StepRetrying, Failures: 3, LastError: "503"}, true},
		"not critical":     {api.StepRun{State: api.StepRetrying, Failures: 9, LastError: "503"}, false},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", Finalizers: []string{api.Finalizer}}}
		row := CleanupRow(node, &api.Run{State: api.Running, Steps: []api.StepRun{test.step}}, nil, Absence{})
		if row.Stuck != test.stuck {
			t.Errorf("%s: stuck %v", name, row.Stuck)
		}
	}
}

func TestUndecodableRecordWithoutALeader(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", Finalizers: []string{api.Finalizer}}}
	node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(api.Running, "c", metav1.Now())}
	row := CleanupRow(node, nil, errors.New("odd"), Absence{NoLeader: true})
	if row.State != "Blocked" || !row.Stuck || !strings.HasPrefix(row.Reason, "cannot decode the run record: odd. The cleanup is paused. ") {
		t.Errorf("%+v", row)
	}
}
