package leader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
)

// lease is a Lease that all can read and write at once.
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

func TestFenceIsOpenOnlyForTheLeader(t *testing.T) {
	ctx, ours := t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "ours"}
	held := &lease{}
	lead := New(Options{Timing: DefaultTiming(), Leading: func(bool) {}, Log: slog.New(slog.DiscardHandler)})
	var ended error
	lead.lock.Interface, lead.lock.cancelLeadership = held, func(cause error) { ended = cause }
	says := func(when, want string) {
		t.Helper()
		err := lead.Fence()
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
		t.Errorf("a leadership that never began ended: %v", ended)
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
		t.Errorf("the leadership ended by %v", ended)
	}
	update()
	says("in the next leadership", "")
	get()
	says("after it has read its own name", "")
	long := time.Now().Add(-lead.Timing.RenewDeadline - time.Second)
	lead.lock.renewed.Store(&long)
	says("when it has not renewed for long", "last renewed 11")
}

// The agent is stopped while the API server makes it the leader: it never hears of that,
// and another would wait for the Lease to run out.
func TestLeaseAcquiredDuringShutdownIsReleased(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stored coordinationv1.Lease
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case request.Method == http.MethodGet && stored.Spec.HolderIdentity == nil:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
			return
		case request.Method == http.MethodPost:
			defer cancel()
			fallthrough
		case request.Method == http.MethodPut:
			if err := json.NewDecoder(request.Body).Decode(&stored); err != nil {
				t.Error(err)
			}
		}
		if request.Method == http.MethodPost {
			panic(http.ErrAbortHandler)
		}
		if err := json.NewEncoder(w).Encode(stored); err != nil {
			t.Error(err)
		}
	}))
	lead := New(Options{Namespace: "ours", Identity: "ours", Timing: DefaultTiming(), Leading: func(bool) {}, Log: slog.New(slog.DiscardHandler)})
	if err := lead.Run(ctx, kubernetes.NewForConfigOrDie(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}), func(context.Context) error {
		t.Error("it leads")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if stored.Name != "nodecleanup-agent" || ptr.Deref(stored.Spec.HolderIdentity, "") != "" {
		t.Errorf("the Lease is %+v", stored)
	}
}
