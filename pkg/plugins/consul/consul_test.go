package consul

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// instant is a clock whose timers end at once.
type instant struct{ clock.RealClock }

func (instant) NewTimer(time.Duration) clock.Timer { return clock.RealClock{}.NewTimer(0) }

func (c *cluster) options(further string) string {
	return fmt.Sprintf(`{"url":%q,"token":{"secretKeyRef":{"name":"consul","key":"token"}}%s}`, c.server.URL, further)
}

func (c *cluster) bind(t *testing.T, further string) cleanup.Plugin {
	t.Helper()
	plugin, faults := Descriptor(c.server.Client(), plugintest.Secrets{"token": token}, instant{}).Bind([]byte(c.options(further)))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

func node(name string, addresses ...string) *corev1.Node {
	one := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)}}
	for _, address := range addresses {
		one.Status.Addresses = append(one.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
	}
	return one
}

func targetOf(node *corev1.Node) cleanup.Target {
	return cleanup.Target{Node: node, Step: "consul", Attempt: 1, Log: slog.New(slog.DiscardHandler), Progress: func(string) {}}
}

func TestANodeIsRemoved(t *testing.T) {
	both := []string{"force-leave w1", "deregister w1"}
	for name, test := range map[string]struct {
		entry   entry
		state   string
		options string
		changes []string
	}{
		"failed agent":    {entry{Node: "w1", Address: "10.0.0.7"}, "failed", "", both},
		"no agent":        {entry{Node: "w1", Address: "10.0.0.7"}, "", "", both[1:]},
		"tagged address":  {entry{Node: "w1", Address: "172.16.0.1", TaggedAddresses: map[string]string{"wan_ipv6": "2001:DB8::7"}}, "failed", "", both},
		"address of host": {entry{Node: "w1", Address: "172.16.0.1", Meta: map[string]string{"host-ip": "10.0.0.7"}}, "failed", "", both},
		"another machine": {entry{Node: "w1", Address: "10.0.0.8"}, "failed", "", nil},
		"no address":      {entry{Node: "w1"}, "failed", "", nil},
		"absent":          {entry{Node: "w2", Address: "10.0.0.7"}, "failed", "", nil},
		"found by its ID": {entry{Node: "w2", Address: "10.0.0.7", ID: "w1w1w1w1w1w1"}, "failed", `,"node":"${node.name}w1w1w1w1"`, nil},
		"another name":    {entry{Node: "k8s-w1", Address: "10.0.0.7"}, "", `,"node":"k8s-${node.name}"`, []string{"deregister k8s-w1"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.add(test.entry, test.state)
			target := targetOf(node("w1", "10.0.0.7", "2001:db8::7"))
			for range 2 {
				if err := c.bind(t, test.options).Cleanup(t.Context(), target); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(c.changes, test.changes) || c.has(test.entry.Node) != (test.changes == nil) {
				t.Errorf("%q, nodes %v", c.changes, c.nodes)
			}
		})
	}
}

// An agent that runs would register its node again.
func TestAnAgentThatRunsIsWaitedFor(t *testing.T) {
	for state, changes := range map[string][]string{"failed": {"force-leave w1", "deregister w1"}, "left": {"deregister w1"}} {
		c := newCluster(t)
		c.add(entry{Node: "w1", Address: "10.0.0.7"}, "alive")
		target, said := targetOf(node("w1", "10.0.0.7")), []string{}
		target.Progress = func(text string) {
			if said = append(said, text); len(said) == 3 {
				c.add(entry{Node: "w1", Address: "10.0.0.7"}, state)
			}
		}
		if err := c.bind(t, "").Cleanup(t.Context(), target); err != nil || len(said) != 3 || said[0] != "waiting for the Consul agent of w1 to stop: its check serfHealth passes" || !slices.Equal(c.changes, changes) {
			t.Errorf("%v, said %q, changes %q", err, said, c.changes)
		}
	}
}

// A new machine takes the name after the old one has left the cluster.
func TestTheNextMachineRemains(t *testing.T) {
	c := newCluster(t)
	c.add(entry{Node: "w1", Address: "10.0.0.7"}, "failed")
	c.changed = func() { c.nodes["w1"] = entry{Node: "w1", Address: "10.0.0.8"} }
	if err := c.bind(t, "").Cleanup(t.Context(), targetOf(node("w1", "10.0.0.7"))); err != nil || !c.has("w1") || !slices.Equal(c.changes, []string{"force-leave w1"}) {
		t.Errorf("%v, changes %q, nodes %v", err, c.changes, c.nodes)
	}
}

// The member is removed between the check of its health and force-leave.
func TestAMemberThatDoesNotExist(t *testing.T) {
	c := newCluster(t)
	c.add(entry{Node: "w1", Address: "10.0.0.7"}, "failed")
	plugin := c.bind(t, "").(*plugin)
	c.add(entry{Node: "w1", Address: "10.0.0.7"}, "")
	if err := plugin.remove(t.Context(), targetOf(node("w1", "10.0.0.7")), "w1", agentFailed); err != nil || c.has("w1") {
		t.Errorf("%v, nodes %v", err, c.nodes)
	}
	c.Answering(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "rpc error: No cluster leader", 500) })
	if err := plugin.forceLeave(t.Context(), "w1"); err == nil || cleanup.IsPermanent(err) {
		t.Errorf("without a leader: %v", err)
	}
}

func TestWithoutForceLeaveConsulRegistersTheNodeAgain(t *testing.T) {
	c := newCluster(t)
	c.add(entry{Node: "w1", Address: "10.0.0.7"}, "failed")
	plugin, target := c.bind(t, `,"forceLeave":false`), targetOf(node("w1", "10.0.0.7"))
	if err := plugin.Cleanup(t.Context(), target); err != nil || !slices.Equal(c.changes, []string{"deregister w1"}) {
		t.Errorf("%v, changes %q", err, c.changes)
	}
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), target); err != nil || undone != "the catalog of Consul has node w1 with address 10.0.0.7" {
		t.Errorf("%q, %v", undone, err)
	}
}

// A node that the token may not read looks like one that does not exist, except for a header.
func TestATokenThatMayNotReadTheNode(t *testing.T) {
	c := newCluster(t)
	c.add(entry{Node: "w1", Address: "10.0.0.7"}, "failed")
	c.unreadable["w1"] = true
	if err := c.bind(t, "").Cleanup(t.Context(), targetOf(node("w1", "10.0.0.7"))); err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "give it node:read") {
		t.Error(err)
	}
}

func TestANameThatIsAPath(t *testing.T) {
	c := newCluster(t)
	one := node("w1", "10.0.0.7")
	one.Labels = map[string]string{"name": ".."}
	for _, label := range []string{"name", "absent"} {
		if err := c.bind(t, `,"node":"${node.labels['`+label+`']}"`).Cleanup(t.Context(), targetOf(one)); err == nil || !cleanup.IsPermanent(err) {
			t.Errorf("%s: %v", label, err)
		}
	}
}

func TestHealth(t *testing.T) {
	c := newCluster(t)
	checker := c.bind(t, "").(cleanup.HealthChecker)
	if err := checker.CheckHealth(t.Context()); err != nil {
		t.Error(err)
	}
	c.leader = ""
	if err := checker.CheckHealth(t.Context()); err == nil || err.Error() != "the Consul cluster has no leader" {
		t.Error(err)
	}
}

func TestPreview(t *testing.T) {
	for state, want := range map[string]string{"alive": "Wait its Consul agent runs", "failed": "ForceLeave its Consul agent has failed", "": "Deregister it has no Consul agent"} {
		c := newCluster(t)
		c.add(entry{Node: "w1", Address: "10.0.0.7"}, state)
		for address, want := range map[string]string{"10.0.0.7": want, "10.0.0.8": "Skip the catalog has no node of that name with an address of this node"} {
			effects, err := c.bind(t, "").(cleanup.Previewer).Preview(t.Context(), targetOf(node("w1", address)))
			if err != nil || len(effects) != 2 || string(effects[1].Action)+" "+effects[1].Reason != want || len(c.changes) > 0 {
				t.Errorf("%s: %v, %+v", state, err, effects)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{
		``:                                    "url: is not a URL",
		`"url":"https://a/v1"`:                "url: must be the root of Consul",
		`"url":"https://a","token":"x"`:       "token: must be in a Secret",
		`"url":"https://a","node":""`:         "node: must not be empty",
		`"url":"https://a","node":"${x"`:      "",
		`"url":"https://a","node":"${x}"`:     "node: has the unknown reference",
		`"url":"https://a","caBundle":"x"`:    "caBundle: ",
		`"url":"https://a","forceLeave":true`: "",
	} {
		_, faults := Descriptor(nil, nil, nil).Bind([]byte("{" + options + "}"))
		err := errors.Join(faults...)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

func TestConformance(t *testing.T) {
	c, values := newCluster(t), plugintest.Secrets{"token": token}
	count := 0
	plugintest.Run(t, plugintest.Suite{
		Descriptor: Descriptor(c.server.Client(), values, clock.RealClock{}),
		Options:    c.options(""),
		Node: func(_ *testing.T, name string) *corev1.Node {
			count++
			address := fmt.Sprintf("10.0.1.%d", count)
			c.add(entry{Node: name, Address: address}, "failed")
			return node(name, address)
		},
		Effects: func(*testing.T) int {
			c.mutex.Lock()
			defer c.mutex.Unlock()
			return len(c.changes)
		},
		Undo: func(_ *testing.T, node *corev1.Node) {
			c.add(entry{Node: node.Name, Address: node.Status.Addresses[0].Address}, "failed")
		},
		Hang: func(_ *testing.T, node *corev1.Node) <-chan struct{} {
			c.add(entry{Node: node.Name, Address: node.Status.Addresses[0].Address}, "alive")
			waiting := make(chan struct{})
			once := sync.OnceFunc(func() { close(waiting) })
			c.mutex.Lock()
			defer c.mutex.Unlock()
			c.asked = func(name string) {
				if name == node.Name {
					once()
				}
			}
			return waiting
		},
		Break: func(t *testing.T) {
			c.Answering(t, func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, r.Header.Get("X-Consul-Token"), http.StatusInternalServerError)
			})
		},
		Refuse:    func(t *testing.T) { wrongToken(t, values) },
		Throttle:  c.Throttle,
		Unhealthy: func(t *testing.T) { wrongToken(t, values) },
		Canary:    "canary",
	})
}

func wrongToken(t *testing.T, values plugintest.Secrets) {
	values["token"] = "canary-wrong"
	t.Cleanup(func() { values["token"] = token })
}
