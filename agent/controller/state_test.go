package controller

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
)

func present() bool { return true }

func trackAll(s *states, uids ...types.UID) {
	for _, uid := range uids {
		s.track(&nodecache.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-" + string(uid), UID: uid}}, present)
	}
}

func TestSlotsAreGivenInTheOrderOfTheQueue(t *testing.T) {
	s := newStates()
	trackAll(s, "a", "b", "c", "d")
	if !s.acquire(1, "a") {
		t.Fatal("a has no slot")
	}
	for _, uid := range []types.UID{"b", "c", "b", "d"} { // b asks twice and is queued once.
		if s.acquire(1, uid) {
			t.Errorf("%s has a slot beyond the limit", uid)
		}
	}
	if taken, waiting := s.counts(); taken != 1 || waiting != 3 {
		t.Errorf("%d taken, %d waiting", taken, waiting)
	}
	if names := s.next(1); names != nil {
		t.Errorf("%v are next although no slot is free", names)
	}
	s.release("a")
	s.forget("b") // A deleted Node leaves the queue.
	if names := s.next(1); !slices.Equal(names, []string{"node-c"}) {
		t.Errorf("%v are next, want c", names)
	}
	if !s.acquire(1, "c") {
		t.Error("c has no slot")
	}
	if names := s.next(5); !slices.Equal(names, []string{"node-d"}) {
		t.Errorf("%v are next, want d", names)
	}
}

func TestNoNodeOvertakesAnother(t *testing.T) {
	s := newStates()
	trackAll(s, "a", "b", "c", "late", "bypassed")
	s.acquire(1, "a")
	s.acquire(1, "b")
	s.acquire(1, "c")
	s.release("a")
	for range 2 { // A Node that was woken keeps its place until it has its slot.
		if names := s.next(1); !slices.Equal(names, []string{"node-b"}) {
			t.Errorf("%v are next, want b", names)
		}
	}
	if s.acquire(1, "late") || s.acquire(1, "c") {
		t.Error("a Node took the slot of b")
	}
	if names := s.next(2); !slices.Equal(names, []string{"node-b", "node-c"}) {
		t.Errorf("with a higher limit, %v are next, want b and c", names)
	}
	if !s.acquire(math.MaxInt, "bypassed") {
		t.Error("a Node that needs no slot waits")
	}
	if names := s.next(1); names != nil || s.acquire(1, "b") {
		t.Errorf("%v are next although no slot is free", names)
	}
	s.release("bypassed")
	s.leave("b") // Its request was withdrawn.
	if s.acquire(1, "late") {
		t.Error("a Node took the slot of c")
	}
	for _, uid := range []types.UID{"c", "late"} {
		if !s.acquire(1, uid) {
			t.Fatalf("%s has no slot", uid)
		}
		s.release(uid)
	}
	if taken, waiting := s.counts(); taken != 0 || waiting != 0 {
		t.Errorf("%d taken, %d waiting", taken, waiting)
	}
}

func TestNoStateSurvivesItsNode(t *testing.T) {
	s := newStates()
	trackAll(s, "a", "b")
	s.forget("a")
	s.update("a", func(state *nodeState) { state.released = true }) // What ends after the deletion leaves nothing.
	if s.track(&nodecache.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-c", UID: "c"}}, func() bool { return false }) {
		t.Error("a deleted Node is tracked")
	}
	if len(s.byUID) != 1 {
		t.Errorf("states are %v, want that of b", s.byUID)
	}

	s.acquire(1, "b")
	ended, begun := make(chan struct{}), make(chan error)
	s.start(t.Context(), "b", func(ctx context.Context) {
		<-ctx.Done()
		begun <- context.Cause(ctx)
	}, func() { close(ended) })
	s.forget("b")
	if cause := <-begun; !errors.Is(cause, errNodeDeleted) {
		t.Errorf("the run ended with %v", cause)
	}
	<-ended
	s.runs.Wait()
	if taken, _ := s.counts(); len(s.byUID) != 0 || taken != 0 {
		t.Errorf("states are %v, %d slots taken", s.byUID, taken)
	}
}

// A Node that the informer loses and finds again under its UID must not get a second run.
func TestRediscoveredNodeGetsNoSecondRun(t *testing.T) {
	s := newStates()
	trackAll(s, "a")
	s.acquire(1, "a")
	goOn, ended := make(chan struct{}), make(chan struct{})
	s.start(t.Context(), "a", func(context.Context) { <-goOn }, func() { close(ended) })
	s.forget("a")
	trackAll(s, "a")
	if !s.get("a").active {
		t.Error("the state of the run is lost")
	}
	close(goOn)
	<-ended
	if state := s.get("a"); state.active || state.name == "" {
		t.Errorf("the state after the run is %+v", state)
	}
}

func TestBackoffDoublesUpToItsLimit(t *testing.T) {
	var s nodeState
	var delays []time.Duration
	for range 100 {
		s.backOff(started)
		delays = append(delays, s.retryAt.Sub(started))
	}
	if want := []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}; !slices.Equal(delays[:3], want) {
		t.Errorf("delays begin with %v", delays[:3])
	}
	if delays[11] != lastRetry || delays[99] != lastRetry {
		t.Errorf("delays are %v", delays)
	}
}
