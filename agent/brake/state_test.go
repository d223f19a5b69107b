package brake

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// started is the time at which every test begins.
var started = time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)

// fleet is a cluster of ten protected Nodes and one that is not, and a state that a test moves
// through time.
type fleet struct {
	*testing.T
	state    state
	settings config.Config
	now      time.Time
	unknown  bool
	all      []*nodecache.Node
	clock    *clocktesting.FakeClock // It shows now.
	requests *Requests
}

func newFleet(t *testing.T, brake config.Brake) *fleet {
	f := &fleet{T: t, settings: config.Config{Brake: brake}, now: started, state: state{known: true}}
	f.clock = clocktesting.NewFakeClock(started)
	f.requests = NewRequests(f.clock)
	for i := range 11 {
		node := &nodecache.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i), UID: types.UID(fmt.Sprint("n", i)), Finalizers: []string{api.Finalizer}}}
		if i == 10 {
			node.Finalizers, node.DeletionTimestamp = []string{"example.com/other"}, &metav1.Time{Time: started}
		}
		f.all = append(f.all, node)
	}
	return f
}

// delete deletes the first n live Nodes.
func (f *fleet) delete(n int) {
	for _, node := range f.all {
		if n > 0 && node.DeletionTimestamp == nil {
			node.DeletionTimestamp = &metav1.Time{Time: f.now}
			n--
		}
	}
}

// after evaluates every second of a time that passes, and returns why no cleanup begins at its end.
func (f *fleet) after(passes time.Duration) string {
	for end := f.now.Add(passes); ; f.now = f.now.Add(time.Second) {
		f.clock.SetTime(f.now)
		f.state.evaluate(&f.settings, signals{func() ([]*nodecache.Node, bool) { return f.all, !f.unknown }, f.requests}, f.now)
		if !f.now.Before(end) {
			return f.state.reason()
		}
	}
}

func (f *fleet) wants(what string, engaged bool, reason string) {
	f.Helper()
	if is := strings.Contains(reason, "brake engaged"); is != engaged {
		f.Fatalf("%s: a node waits because %q", what, reason)
	}
}

var limited = config.Brake{MaxTerminating: config.Limit{Percent: 30}, ReleaseAfter: 10 * time.Minute}

func TestTooManyDeletedNodesEngageTheBrake(t *testing.T) {
	for name, test := range map[string]struct {
		brake   config.Brake
		deleted int
		unknown bool
		reason  string
	}{
		"no brake":                 {config.Brake{}, 10, false, ""},
		"as many as the share":     {limited, 3, false, ""},
		"one more than the share":  {limited, 4, false, "brake engaged at 2026-01-31T04:00:00Z: 4 of 10 protected nodes are terminating (limit 30%)"},
		"as many as the number":    {config.Brake{MaxTerminating: config.Limit{Number: 2}}, 2, false, ""},
		"one more than the number": {config.Brake{MaxTerminating: config.Limit{Number: 2}}, 3, false, "brake engaged at 2026-01-31T04:00:00Z: 3 of 10 protected nodes are terminating (limit 2)"},
		"nodes are not listed yet": {limited, 4, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, test.brake)
			f.delete(test.deleted)
			f.unknown = test.unknown
			if test.unknown {
				f.all = nil
			}
			if reason := f.after(0); reason != test.reason {
				t.Errorf("a node waits because %q, want %q", reason, test.reason)
			}
		})
	}
}

// Nodes that wait because of the brake terminate, too: nothing would ever release it if it waited
// until they are deleted.
func TestTerminatingNodesDoNotKeepTheBrakeEngaged(t *testing.T) {
	f := newFleet(t, limited)
	f.delete(4)
	f.wants("after 4 deletions", true, f.after(10*time.Minute-time.Second))
	f.wants("after a quiet time", false, f.after(time.Second))
	f.wants("long after, with the same 4", false, f.after(time.Hour))
	f.delete(3)
	f.wants("after as many more as the limit allows", false, f.after(time.Second))
	f.delete(1)
	f.wants("after more of them", true, f.after(time.Second))
}

func TestBrakeStaysEngagedWhileNodesAreDeleted(t *testing.T) {
	f := newFleet(t, limited)
	f.delete(4)
	f.after(9 * time.Minute)
	f.delete(4)
	f.wants("10 minutes after the first ones", true, f.after(5*time.Minute))
	f.wants("10 minutes after the last ones", false, f.after(5*time.Minute+time.Second))
}

// A trickle below the limit does not keep the brake engaged for ever.
func TestDeletionsBelowTheLimitDoNotKeepTheBrakeEngaged(t *testing.T) {
	f := newFleet(t, limited)
	f.delete(4)
	for range 2 {
		f.after(4 * time.Minute)
		f.delete(1)
	}
	f.wants("10 minutes after the storm", false, f.after(2*time.Minute+time.Second))
}

func TestWithoutQuietTimeOnlyResumeReleasesTheBrake(t *testing.T) {
	f := newFleet(t, config.Brake{MaxTerminating: limited.MaxTerminating})
	f.delete(4)
	f.wants("after a day", true, f.after(24*time.Hour))
	f.state.pause = api.Pause{By: "alice", At: f.now}
	f.wants("after a resume", false, f.after(time.Second))
	f.wants("with the same nodes", false, f.after(time.Hour))
	if !f.state.brake.ReleasedAt.Time.Equal(f.state.pause.At) {
		t.Errorf("it was released at %s", f.state.brake.ReleasedAt)
	}
	f.delete(4)
	f.wants("after 4 others", true, f.after(time.Second))
	f.state.pause = api.Pause{Paused: true, By: "alice", At: f.now}
	f.after(time.Second)
	if f.state.brake.Since == nil {
		t.Error("a pause has released the brake")
	}
}

func TestOldResumeReleasesNothing(t *testing.T) {
	f := newFleet(t, limited)
	f.state.pause = api.Pause{By: "alice", At: started.Add(-time.Hour)}
	f.delete(4)
	f.wants("after 4 deletions", true, f.after(time.Minute))
}

func TestBrakeRemovedFromConfigIsReleased(t *testing.T) {
	f := newFleet(t, limited)
	f.delete(4)
	f.wants("after 4 deletions", true, f.after(0))
	f.settings.Brake = config.Brake{}
	f.wants("without a brake", false, f.after(0))
}

func TestReasonOrder(t *testing.T) {
	f := newFleet(t, limited)
	f.state.known = false
	if reason := f.state.reason(); !strings.Contains(reason, "cannot read whether cleanups are paused") {
		t.Errorf("before anything is read: %q", reason)
	}
	f.state.known = true
	f.delete(4)
	f.after(0)
	f.state.brake.WindowOpensAt = stamp(started.Add(time.Hour))
	f.state.pause = api.Pause{Paused: true, By: "alice"}
	for _, want := range []string{"cleanups paused by alice", "brake engaged", "outside the maintenance windows; the next one opens at 2026-01-31T05:00:00Z", ""} {
		if reason := f.state.reason(); !strings.HasPrefix(reason, want) || want == "" && reason != "" {
			t.Errorf("the reason is %q, want %q", reason, want)
		}
		switch {
		case f.state.pause.Paused:
			f.state.pause.Paused = false
		case f.state.brake.Since != nil:
			f.state.brake.Since = nil
		default:
			f.state.brake.WindowOpensAt = nil
		}
	}
}

func TestOpenFor(t *testing.T) {
	windows := parseWindows(t, "{schedule: '0 3 * * *', duration: 4h}") // Open at the start, for an hour.
	for name, test := range map[string]struct {
		windows config.Windows
		state   state
		want    time.Duration
	}{
		"always":                            {nil, state{known: true}, math.MaxInt64},
		"paused":                            {nil, state{known: true, pause: api.Pause{Paused: true, At: started.Add(-time.Hour)}}, 0},
		"resumed":                           {nil, state{known: true, pause: api.Pause{At: started.Add(-time.Minute)}}, time.Minute},
		"released":                          {nil, state{known: true, brake: api.Brake{ReleasedAt: stamp(started.Add(-2 * time.Minute))}}, 2 * time.Minute},
		"resumed after that":                {nil, state{known: true, pause: api.Pause{At: started.Add(-time.Minute)}, brake: api.Brake{ReleasedAt: stamp(started.Add(-2 * time.Minute))}}, time.Minute},
		"in a window":                       {windows, state{known: true, pause: api.Pause{At: started.Add(-2 * time.Hour)}}, time.Hour},
		"resumed in a window":               {windows, state{known: true, pause: api.Pause{At: started.Add(-time.Minute)}}, time.Minute},
		"outside a window":                  {windows, state{known: true, brake: api.Brake{WindowOpensAt: stamp(started)}}, 0},
		"resumed by a clock that was ahead": {nil, state{known: true, pause: api.Pause{At: started.Add(time.Minute)}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.state.openFor(test.windows, started); got != test.want {
				t.Errorf("open for %s, want %s", got, test.want)
			}
		})
	}
}

func TestOutsideTheWindowsNodesWait(t *testing.T) {
	f := newFleet(t, config.Brake{})
	f.settings.Windows = parseWindows(t, "{schedule: '30 4 * * *', duration: 1h}")
	if reason := f.after(0); reason != "outside the maintenance windows; the next one opens at 2026-01-31T04:30:00Z" {
		t.Errorf("before the window: %q", reason)
	}
	if reason := f.after(30 * time.Minute); reason != "" {
		t.Errorf("in the window: %q", reason)
	}
	if reason := f.after(time.Hour); reason != "outside the maintenance windows; the next one opens at 2026-02-01T04:30:00Z" {
		t.Errorf("after the window: %q", reason)
	}
}

func parseWindows(t *testing.T, window string) config.Windows {
	t.Helper()
	parsed, err := config.Parse([]byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nwindows: ["+window+"]\nsteps: [{name: log, plugin: logger}]\n"), plugins.Catalog(plugins.Dependencies{}))
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Windows
}
