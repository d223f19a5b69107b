package follow

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

var (
	broken  = &api.RecordError{Record: "run-n-u", Err: errors.New("unexpected end of JSON input")}
	another = &api.RecordError{Record: "run-n-u", Err: &api.VersionError{Version: "nodecleanup.io/v1beta1"}}
)

func in(state api.State) *corev1.Node {
	node := node(true, api.Finalizer)
	node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(state, "m", metav1.Now())}
	return node
}

func TestSettledWithAnUndecodableRecord(t *testing.T) {
	for name, test := range map[string]struct {
		now  Snapshot
		done bool
		code int
		says []string
	}{
		"broken":                     {Snapshot{Node: in(api.Running), Undecodable: broken}, false, exit.Blocked, []string{"cannot decode run record run-n-u: unexpected end of JSON input. A running step continues, and no other step begins", "kubectl nodecleanup retry n"}},
		"broken, and no agent leads": {Snapshot{Node: in(api.Running), Undecodable: broken, NoLeader: true}, false, exit.Blocked, []string{"unexpected end of JSON input. The cleanup is paused", "kubectl nodecleanup retry n"}},
		// An earlier state of the record is not an outcome.
		"broken after it failed":        {Snapshot{Node: in(api.Failed), Run: &api.Run{State: api.Failed}, Undecodable: broken}, false, exit.Blocked, []string{"cannot decode"}},
		"another version, the agent is": {Snapshot{Node: in(api.Running), Undecodable: another}, false, exit.OK, nil},
		"another version, paused":       {Snapshot{Node: in(api.Blocked), Undecodable: another}, false, exit.Blocked, []string{"The cleanup is paused", "upgrade the agent and the CLI"}},
		"deleted":                       {Snapshot{Undecodable: broken}, true, exit.Failure, []string{"it is not known whether its cleanup was completed", "unexpected end of JSON input", "upgrade the CLI"}},
		"deleted during the run":        {Snapshot{Run: &api.Run{State: api.Running}, Undecodable: another}, true, exit.Failure, []string{"is not known", "v1beta1"}},
	} {
		t.Run(name, func(t *testing.T) {
			done, err := Settled(test.now, "n", func(*api.Run) bool { return true })
			if code := exit.Code(t.Context(), err); done != test.done || code != test.code {
				t.Errorf("done %v, exit code %d, want %v and %d: %v", done, code, test.done, test.code, err)
			}
			said := ""
			if lines := (*exit.Error)(nil); errors.As(err, &lines) {
				said = err.Error() + "\n" + lines.Next
			}
			for _, text := range test.says {
				if !strings.Contains(said, text) {
					t.Errorf("%q does not say %q", said, text)
				}
			}
			if strings.Contains(said, "finalizer") {
				t.Errorf("it guesses who released the node: %q", said)
			}
		})
	}
}

func TestUndecodableRecordIsPrintedOnce(t *testing.T) {
	var lines []string
	follower := Follower{Say: func(line string) { lines = append(lines, line) }}
	said := map[string]string{}
	for range 2 {
		follower.report(Snapshot{Node: in(api.Running), Undecodable: broken}, said)
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "cannot decode run record run-n-u: unexpected end of JSON input. A running step continues, and no other step begins. If a newer version wrote") {
		t.Errorf("got %q", lines)
	}
	lines = nil
	follower.report(Snapshot{Node: in(api.Running), Run: &api.Run{State: api.Running, Steps: []api.StepRun{{Name: "drain", State: api.StepRunning}}}}, said)
	if !slices.Equal(lines, []string{"1/1 drain: running"}) {
		t.Errorf("got %q of the record that follows", lines)
	}
}

func TestTimeoutNamesAnUndecodableRecord(t *testing.T) {
	err := unfinished("n", Snapshot{Node: in(api.Blocked), Run: &api.Run{State: api.Running}, Undecodable: broken}, exit.TimedOut, "not completed within --timeout")
	var lines *exit.Error
	if !errors.As(err, &lines) || lines.Code != exit.TimedOut || !strings.Contains(err.Error(), "cannot decode run record run-n-u") || !strings.Contains(lines.Next, "retry n") {
		t.Errorf("%#v", err)
	}
}
