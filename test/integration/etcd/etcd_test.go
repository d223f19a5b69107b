package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const (
	remove   = "/v3/cluster/member/remove"
	transfer = "/v3/maintenance/transfer-leadership"
)

// other returns a member that is none of these.
func other(of ...int) int {
	for i := 1; ; i++ {
		if !slices.Contains(of, i) {
			return i
		}
	}
}

func (f *fixture) verify(node *corev1.Node) string {
	f.Helper()
	undone, err := f.plugin().(cleanup.Verifier).Verify(f.Context(), f.target(node))
	if err != nil {
		f.Error(err)
	}
	return undone
}

func TestRemovesMembersUntilTheLastOne(t *testing.T) {
	f := setUp(t, 3)
	leader := f.leader(1)
	follower := other(leader)
	node := f.node(follower)
	if undone := f.verify(node); undone != "member "+node.Name+" is in the etcd cluster" {
		t.Errorf("Verify says %q", undone)
	}
	f.cleanUp(node)
	if sent := f.transport.sent(); slices.Contains(sent, transfer) {
		t.Errorf("the leadership of another member was moved: %q", sent)
	}
	if _, is := f.list(leader)[node.Name]; is {
		t.Errorf("%s is a member: %v", node.Name, f.list(leader))
	}

	// The agent was killed after the removal.
	if err := f.plugin().Cleanup(t.Context(), f.target(node)); err != nil {
		t.Error(err)
	}
	if sent := f.transport.sent(); len(sent) > 0 {
		t.Errorf("a repeat sends %q", sent)
	}
	if undone := f.verify(node); undone != "" {
		t.Errorf("Verify says %q", undone)
	}

	// Of two members, the leader.
	last := other(leader, follower)
	f.cleanUp(f.node(leader))
	if sent := f.transport.sent(); len(sent) < 2 || sent[0] != transfer || sent[len(sent)-1] != remove {
		t.Errorf("sent %q, want the leadership to be moved first", sent)
	}
	if members := f.list(last); len(members) != 1 || f.leader(last) != last {
		t.Errorf("the members are %v", members)
	}
	err := f.plugin().Cleanup(t.Context(), f.target(f.node(last)))
	if !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "it is the last voting member") {
		t.Errorf("removing the last member: %v", err)
	}
	if sent := f.transport.sent(); len(sent) > 0 {
		t.Errorf("sent %q", sent)
	}
}

func TestMovesTheLeaderFirst(t *testing.T) {
	f := setUp(t, 3)
	leader := f.leader(1)
	effects, err := f.plugin().(cleanup.Previewer).Preview(t.Context(), f.target(f.node(leader)))
	if err != nil || len(effects) != 3 || effects[1].Action != "MoveLeadership" || effects[2].Reason != "2 members remain" {
		t.Errorf("the preview is %v, %v", effects, err)
	}
	f.cleanUp(f.node(leader))
	if sent := f.transport.sent(); sent[0] != transfer || sent[len(sent)-1] != remove {
		t.Errorf("sent %q", sent)
	}
	if members := f.list(other(leader)); len(members) != 2 || f.leader(other(leader)) == leader {
		t.Errorf("the members are %v", members)
	}
}

func TestKeepsTheQuorum(t *testing.T) {
	f := setUp(t, 3)
	leader := f.leader(1)
	down := other(leader)
	third := other(leader, down)
	if err := f.members[fmt.Sprintf("cp-%d", down)].Kill(); err != nil {
		t.Fatal(err)
	}
	err := f.plugin().Cleanup(t.Context(), f.target(f.node(third)))
	want := fmt.Sprintf("removing member cp-%d from etcd: 1 of the 2 remaining voting members are healthy, and 2 are needed; not healthy: member cp-%d", third, down)
	if err == nil || !strings.Contains(err.Error(), want) || cleanup.IsPermanent(err) {
		t.Errorf("with another member down: %v, want %s", err, want)
	}
	if sent := f.transport.sent(); len(sent) > 0 {
		t.Errorf("sent %q", sent)
	}
	effects, err := f.plugin().(cleanup.Previewer).Preview(t.Context(), f.target(f.node(third)))
	if err != nil || effects[len(effects)-1].Blocked == nil || effects[len(effects)-1].Blocked.Cause != "Quorum" {
		t.Errorf("the preview is %v, %v", effects, err)
	}

	// The host of the member itself may be down.
	f.cleanUp(f.node(down))
	if members := f.list(leader); len(members) != 2 {
		t.Errorf("the members are %v", members)
	}
}

func TestWithoutAQuorum(t *testing.T) {
	f := setUp(t, 3)
	for _, name := range []string{"cp-2", "cp-3"} {
		if err := f.members[name].Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range []*corev1.Node{f.node(1), f.node(2), f.nodeAt("cp-9", "127.0.0.9")} {
		err := f.plugin().Cleanup(t.Context(), f.target(node))
		if err == nil || !strings.Contains(err.Error(), "listing the members of etcd") || cleanup.IsPermanent(err) {
			t.Errorf("%s: %v", node.Name, err)
		}
	}
}

func TestAMemberWithAnotherName(t *testing.T) {
	f := setUp(t, 3)
	if err := f.nodes.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("nodes"), "", "cp-3"); err != nil {
		t.Fatal(err)
	}
	node := f.nodeAt("old", f.address(3))
	err := f.plugin().Cleanup(t.Context(), f.target(node))
	if !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "member cp-3 has an address of the node, but not the name old") {
		t.Errorf("without another Node at the address: %v", err)
	}
	f.node(3) // It took over the address.
	if err := f.plugin().Cleanup(t.Context(), f.target(node)); err != nil {
		t.Error(err)
	}
	err = f.plugin().Cleanup(t.Context(), f.target(f.nodeAt("cp-2", "127.0.0.9")))
	if !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "member cp-2 has the peer URLs") {
		t.Errorf("a member of this name elsewhere: %v", err)
	}
	if members := f.list(1); len(members) != 3 {
		t.Errorf("the members are %v", members)
	}
}

func TestLearners(t *testing.T) {
	f := setUp(t, 3)
	f.add(4, true)
	var initial []string
	for i := 1; i <= 4; i++ {
		initial = append(initial, fmt.Sprintf("cp-%d=%s", i, f.peerURL(i)))
	}
	learner := f.process(4, strings.Join(initial, ","), "existing")
	if err := learner.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.eventually("the learner has its name", func() error {
		if !f.list(1)["cp-4"].IsLearner {
			return errors.New("no learner")
		}
		return nil
	})
	leader := f.leader(1)
	down := other(leader)
	if err := f.members[fmt.Sprintf("cp-%d", down)].Kill(); err != nil {
		t.Fatal(err)
	}
	err := f.plugin().Cleanup(t.Context(), f.target(f.node(other(leader, down))))
	if err == nil || !strings.Contains(err.Error(), "1 of the 2 remaining voting members are healthy") {
		t.Errorf("a learner counts for the quorum: %v", err)
	}
	f.cleanUp(f.node(4))
	if members := f.list(leader); len(members) != 3 {
		t.Errorf("the members are %v", members)
	}
}

// The alarm of one member is reported by all of them.
func TestAlarms(t *testing.T) {
	f := setUp(t, 3)
	f.leader(1)
	alarm := func(action, kind string, of int) {
		f.eventually("an alarm is set", func() error {
			return f.ask(1, "/v3/maintenance/alarm", map[string]string{"action": action, "alarm": kind, "memberID": f.list(1)[fmt.Sprintf("cp-%d", of)].ID}, nil)
		})
	}
	alarm("ACTIVATE", "NOSPACE", 3)
	alarm("ACTIVATE", "CORRUPT", 2)
	err := f.plugin().Cleanup(t.Context(), f.target(f.node(3)))
	if err == nil || !strings.Contains(err.Error(), "1 of the 2 remaining voting members are healthy, and 2 are needed; not healthy: member cp-2 (it has the alarm CORRUPT)") {
		t.Errorf("with a corrupt member: %v", err)
	}
	f.cleanUp(f.node(2))
	if members := f.list(1); len(members) != 2 {
		t.Errorf("the members are %v", members)
	}
}

func TestHealth(t *testing.T) {
	f := setUp(t, 1)
	if err := f.plugin().(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
		t.Error(err)
	}
	certificate, key := newAuthority(t).sign(t, "stranger")
	f.secrets["tls.crt"], f.secrets["tls.key"] = certificate, key
	if err := f.plugin().(cleanup.HealthChecker).CheckHealth(t.Context()); err == nil || cleanup.IsPermanent(err) {
		t.Errorf("with a certificate of another authority: %v", err)
	}
}

func TestConformance(t *testing.T) {
	f := setUp(t, 3, "--max-learners=20")
	f.leader(1)
	response := func(code int, header http.Header) func(*http.Request) (*http.Response, error) {
		return func(request *http.Request) (*http.Response, error) {
			if header == nil {
				header = http.Header{}
			}
			return &http.Response{StatusCode: code, Header: header, Body: http.NoBody, Request: request}, nil
		}
	}
	next, numbers := 10, map[string]int{}
	plugintest.Run(t, plugintest.Suite{
		Descriptor: f.descriptor(),
		Options:    f.options(),
		// A learner that was never started.
		Node: func(t *testing.T, name string) *corev1.Node {
			next++
			numbers[name] = next
			f.add(next, true)
			return f.nodeAt(name, f.address(next))
		},
		Exempt: func(t *testing.T, name string) *corev1.Node {
			node := f.nodeAt(name, "127.0.0.99")
			node.Labels = nil
			return node
		},
		Effects: func(t *testing.T) int { return next - len(f.list(1)) },
		Undo:    func(t *testing.T, node *corev1.Node) { f.add(numbers[node.Name], true) },
		Hang: func(t *testing.T, _ *corev1.Node) <-chan struct{} {
			waiting, once := make(chan struct{}, 1), false
			f.transport.answer(t, func(request *http.Request) (*http.Response, error) {
				if !once {
					once = true
					close(waiting)
				}
				<-request.Context().Done()
				return nil, request.Context().Err()
			})
			return waiting
		},
		Break: func(t *testing.T) { f.transport.answer(t, response(http.StatusServiceUnavailable, nil)) },
		Throttle: func(t *testing.T) time.Duration {
			f.transport.answer(t, response(http.StatusTooManyRequests, http.Header{"Retry-After": {"7"}}))
			return 7 * time.Second
		},
		Unhealthy: func(t *testing.T) {
			f.transport.answer(t, func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded })
		},
		Canary: "canary",
	})
}
