package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
)

// lease is a Lease that everybody can read and write at once.
type lease struct {
	resourcelock.Interface
	holder string
	err    error
}

func (l *lease) Identity() string { return "ours" }

func (l *lease) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return &resourcelock.LeaderElectionRecord{HolderIdentity: l.holder}, nil, l.err
}

func (l *lease) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	if l.err == nil {
		l.holder = record.HolderIdentity
	}
	return l.err
}

func TestTheFenceIsOpenOnlyForWhoHoldsTheLease(t *testing.T) {
	ctx, ours := t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "ours"}
	held := &lease{}
	lead := newLeadership(Options{Lease: DefaultLeaseTiming(), Log: slog.New(slog.DiscardHandler)}, metrics.New())
	var ended error
	lead.lock.Interface, lead.lock.taken = held, func(cause error) { ended = cause }
	says := func(when, want string) {
		t.Helper()
		err := lead.fence()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s the fence says %v, want %q", when, err, want)
		}
	}
	get := func() {
		t.Helper()
		if _, _, err := lead.lock.Get(ctx); !errors.Is(err, held.err) {
			t.Fatal(err)
		}
	}
	update := func() {
		t.Helper()
		if err := lead.lock.Update(ctx, ours); !errors.Is(err, held.err) {
			t.Fatal(err)
		}
	}
	says("before anything", "does not hold the Lease")
	held.holder = "zoe"
	get()
	says("while another leads", "does not hold the Lease")
	if ended != nil {
		t.Errorf("a term that was none ended: %v", ended)
	}
	update()
	says("with the Lease", "")
	held.err = errors.New("connection refused")
	get()
	update()
	says("while the API server is away", "")
	held.err = nil
	held.holder = ""
	get()
	says("while the Lease is nobody's", `held by ""`)
	if ended != nil {
		t.Errorf("it did not try to take what is nobody's: %v", ended)
	}
	update()
	says("with the Lease again", "")
	held.holder = "zoe"
	get()
	says("when the Lease was taken", `held by "zoe"`)
	if ended == nil || !strings.Contains(ended.Error(), `taken by "zoe"`) {
		t.Errorf("the term ended by %v", ended)
	}
	update()
	says("in the next term", "")
	get()
	says("after it has read its own name", "")
	long := time.Now().Add(-lead.timing.RenewDeadline - time.Second)
	lead.lock.renewed.Store(&long)
	says("when it has not renewed for long", "last renewed 11")
}
