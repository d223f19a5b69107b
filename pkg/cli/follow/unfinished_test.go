package follow

import (
	"errors"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// The error names the awaited state.
func TestTimeoutNamesTheAwaitedState(t *testing.T) {
	for name, test := range map[string]struct {
		last Snapshot
		want []string
	}{
		"no agent": {Snapshot{}, []string{"node worker-3", "no agent has started it"}},
		"it runs":  {Snapshot{Run: &api.Run{State: api.Running, Message: "0 of 3 steps done, running step drain"}}, []string{"it is Running: 0 of 3 steps done, running step drain"}},
		"it waits": {Snapshot{Run: &api.Run{State: api.Waiting, Message: "step lb failed, next try in 40s"}}, []string{"it is Waiting: step lb failed"}},
	} {
		err := unfinished("worker-3", test.last, exit.TimedOut, "not completed within --timeout")
		var exitError *exit.Error
		if !errors.As(err, &exitError) || exitError.Code != exit.TimedOut || exitError.Next != "" {
			t.Errorf("%s: %#v", name, err)
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in %q", name, want, err)
			}
		}
	}
}
