package dns

import (
	"context"
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

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// testTime is the time of a signature. The servers compare it with their clock.
func testTime() time.Time { return time.Now() }

const zones = `"zone":"nodes.example.com","reverseZones":["0.10.in-addr.arpa","8.b.d.0.1.0.0.2.ip6.arpa."]`

func (c *counterpart) bind(t *testing.T, further string) cleanup.Plugin {
	t.Helper()
	plugin, faults := c.descriptor().Bind([]byte("{" + c.options + "," + zones + further + "}"))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

func node(name string, addresses ...string) *corev1.Node {
	one := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)}}
	one.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}}
	for _, address := range addresses {
		one.Status.Addresses = append(one.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
	}
	return one
}

func targetOf(node *corev1.Node) cleanup.Target {
	return cleanup.Target{Node: node, Step: "dns", Attempt: 1, Log: slog.New(slog.DiscardHandler)}
}

// each runs a test with each of the real servers.
func each(t *testing.T, test func(t *testing.T, c *counterpart)) {
	for name, start := range counterparts() {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}

const (
	w1PTR = "7.0.0.10.in-addr.arpa. PTR w1.nodes.example.com."
	w1IP6 = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR "
)

func TestOnlyTheRecordsOfTheNodeAreRemoved(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		for _, record := range []string{
			"w1.nodes.example.com. A 10.0.0.7", "w1.nodes.example.com. AAAA 2001:db8::7", w1PTR, w1IP6 + "W1.nodes.example.com.",
			// Another machine has the name, too, and another name the address.
			"w1.nodes.example.com. A 10.0.0.99", "w2.nodes.example.com. A 10.0.0.7", "w1.nodes.example.com. TXT \"a\"",
		} {
			c.add(t, record)
		}
		target := targetOf(node("w1", "10.0.0.7", "2001:0db8:0::7", "10.0.0.7"))
		effects, err := c.bind(t, "").(cleanup.Previewer).Preview(t.Context(), target)
		var removed []string
		for _, effect := range effects {
			if effect.ReportedBy != "" {
				removed = append(removed, fmt.Sprint(effect.Action, " ", effect.Object.Name))
			}
		}
		slices.Sort(removed)
		if want := []string{
			"Remove " + w1IP6 + "w1.nodes.example.com.", "Remove 7.0.0.10.in-addr.arpa. PTR w1.nodes.example.com.",
			"Remove w1.nodes.example.com. A 10.0.0.7", "Remove w1.nodes.example.com. AAAA 2001:db8::7", "Skip w1.nodes.example.com. A 10.0.0.99",
		}; err != nil || !slices.Equal(removed, want) {
			t.Errorf("%v, %q", err, removed)
		}
		for range 2 {
			if err := c.bind(t, "").Cleanup(t.Context(), target); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := c.all(t, zoneName), []string{"w1.nodes.example.com. A 10.0.0.99", `w1.nodes.example.com. TXT "a"`, "w2.nodes.example.com. A 10.0.0.7"}; !slices.Equal(got, want) {
			t.Errorf("%q remain, want %q", got, want)
		}
		if got := slices.Concat(c.all(t, reverseZone), c.all(t, ip6Zone)); len(got) > 0 {
			t.Errorf("%q remain", got)
		}
	})
}

// The name and the address belong to new machines by now.
func TestRecordsOfTheNextMachineRemain(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		want := []string{"7.0.0.10.in-addr.arpa. PTR w3.nodes.example.com.", "w1.nodes.example.com. A 10.0.0.99"}
		for _, record := range want {
			c.add(t, record)
		}
		if err := c.bind(t, "").Cleanup(t.Context(), targetOf(node("w1", "10.0.0.7"))); err != nil {
			t.Fatal(err)
		}
		if got := slices.Concat(c.all(t, reverseZone), c.all(t, zoneName)); !slices.Equal(got, want) {
			t.Errorf("%q remain, want %q", got, want)
		}
	})
}

// PowerDNS cannot change single records, and its filtered list lacks disabled ones.
func TestDisabledRecordsRemain(t *testing.T) {
	c := startPowerDNS(t)
	c.add(t, "w1.nodes.example.com. A 10.0.0.7")
	c.add(t, "w1.nodes.example.com. A 10.0.0.99 disabled")
	if err := c.bind(t, "").Cleanup(t.Context(), targetOf(node("w1", "10.0.0.7"))); err != nil {
		t.Fatal(err)
	}
	if got := c.all(t, zoneName); !slices.Equal(got, []string{"w1.nodes.example.com. A 10.0.0.99 disabled"}) {
		t.Errorf("%q remain", got)
	}
}

func TestNamesOutsideTheZone(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		for name, says := range map[string]string{
			`,"name":"${node.name}.example.net"`: `name "w1.example.net" is not below zone nodes.example.com.`,
			`,"name":"${node.name}."`:            `name "w1." is not below zone`,
			`,"name":"nodes.example.com"`:        `name "nodes.example.com" is not below zone`,
			`,"name":"xnodes.example.com"`:       `name "xnodes.example.com" is not below zone`,
			`,"name":"*"`:                        `"*" is not a valid domain name`,
		} {
			err := c.bind(t, name).Cleanup(t.Context(), targetOf(node("w1", "10.0.0.7")))
			if err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := c.bind(t, "").Cleanup(t.Context(), targetOf(node("w1"))); !errors.Is(err, errNoAddress) || !cleanup.IsPermanent(err) {
			t.Errorf("without an address: %v", err)
		}
	})
}

func TestHealth(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		bind := func(zone string) cleanup.HealthChecker {
			plugin, faults := c.descriptor().Bind([]byte("{" + c.options + `,"zone":"` + zone + `"}`))
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			return plugin.(cleanup.HealthChecker)
		}
		for zone, healthy := range map[string]bool{"nodes.example.com": true, "other.example.com": false, "a.nodes.example.com": false} {
			if err := bind(zone).CheckHealth(t.Context()); (err == nil) != healthy {
				t.Errorf("zone %s: %v", zone, err)
			}
		}
	})
}

func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		var mutex sync.Mutex
		added := 0
		plugintest.Run(t, plugintest.Suite{
			Descriptor: c.descriptor(),
			Options:    "{" + c.options + "," + zones + "}",
			Node: func(t *testing.T, name string) *corev1.Node {
				mutex.Lock()
				defer mutex.Unlock()
				added++
				address := fmt.Sprintf("10.0.1.%d", added)
				c.add(t, name+".nodes.example.com. A "+address)
				return node(name, address)
			},
			Effects: func(t *testing.T) int {
				mutex.Lock()
				defer mutex.Unlock()
				return added - len(c.all(t, zoneName))
			},
			Undo: func(t *testing.T, node *corev1.Node) {
				mutex.Lock()
				defer mutex.Unlock()
				added++
				c.add(t, node.Name+".nodes.example.com. A "+node.Status.Addresses[1].Address)
			},
			Hang: func(t *testing.T, _ *corev1.Node) <-chan struct{} {
				waiting := make(chan struct{})
				once := sync.OnceFunc(func() { close(waiting) })
				c.set(t, func(c *counterpart) {
					c.instead = func(ctx context.Context) error {
						once()
						<-ctx.Done()
						return ctx.Err()
					}
				})
				return waiting
			},
			Break: func(t *testing.T) {
				c.set(t, func(c *counterpart) {
					c.status, c.instead = http.StatusBadGateway, func(context.Context) error {
						if strings.Contains(c.options, "rfc2136") {
							return errors.New("connection refused")
						}
						return nil
					}
				})
			},
			Refuse:    func(t *testing.T) { c.set(t, wrongSecret) },
			Throttle:  c.throttle(),
			Unhealthy: func(t *testing.T) { c.set(t, wrongSecret) },
			Canary:    "canary",
		})
	})
}

func wrongSecret(c *counterpart) {
	c.secrets["tsig"], c.secrets["key"] = strings.Replace(keySecret, "SECRET", "secret", 1), "canary-wrong"
}

// throttle returns what makes the server ask to wait. Only HTTP has that.
func (c *counterpart) throttle() func(t *testing.T) time.Duration {
	if strings.Contains(c.options, "rfc2136") {
		return nil
	}
	return func(t *testing.T) time.Duration {
		c.set(t, func(c *counterpart) { c.status = http.StatusTooManyRequests })
		return 7 * time.Second
	}
}
