// Package plugintest is the conformance test of plugins: it checks the contract of package
// cleanup. Call Run in a test of the plugin.
package plugintest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Suite describes the plugin under test and how to create each situation. Descriptor and Options
// are required.
type Suite struct {
	// Descriptor of the plugin, made with dependencies that work.
	Descriptor cleanup.Descriptor
	// Options of a step, as JSON.
	Options string
	// Node makes a Node that the plugin has something to do for; nil is any Node.
	Node func(t *testing.T, name string) *corev1.Node
	// Effects counts the changes that the plugin has made so far, in the cluster or in the other
	// system. It is nil if they are not visible.
	Effects func(t *testing.T) int
	// Hang makes Cleanup wait, for this Node or for all, until the test ends. It returns a channel
	// that is closed when the plugin waits. It is nil if the plugin never waits.
	Hang func(t *testing.T, node *corev1.Node) (waiting <-chan struct{})
	// Break makes every Cleanup fail until the test ends. nil when it cannot fail.
	Break func(t *testing.T)
	// Canary is part of every secret of the plugin, and must not appear in its output. It is empty
	// if the plugin has no secret.
	Canary string
}

// soon is the time in which a plugin must return after its context has ended. After it, the
// executor abandons the plugin.
const soon = 5 * time.Second

// Run holds the plugin to its promises.
func Run(t *testing.T, s Suite) {
	if s.Node == nil {
		s.Node = func(_ *testing.T, name string) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)}}
		}
	}
	t.Run("describes itself", s.describesItself)
	t.Run("previews and changes nothing", s.previews)
	t.Run("cleans up, and again", s.repeats)
	t.Run("cleans several nodes at once", s.concurs)
	t.Run("returns soon when it is cancelled", s.stops)
	t.Run("fails without a word of a secret", s.fails)
}

func (s Suite) bind(t *testing.T) cleanup.Plugin {
	t.Helper()
	plugin, faults := s.Descriptor.Bind([]byte(s.Options))
	if len(faults) > 0 {
		t.Fatalf("binding options %s: %v", s.Options, faults)
	}
	return plugin
}

func (s Suite) describesItself(t *testing.T) {
	if !regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`).MatchString(s.Descriptor.Name) {
		t.Errorf("%q is no name of a plugin", s.Descriptor.Name)
	}
	if s.Descriptor.Summary == "" || s.Descriptor.Defaults.Timeout <= 0 {
		t.Errorf("no summary or no default timeout: %+v", s.Descriptor)
	}
	if _, faults := s.Descriptor.Bind([]byte(`{"noSuchOption":1}`)); len(faults) == 0 {
		t.Error("an unknown option was accepted")
	}
}

func (s Suite) previews(t *testing.T) {
	previewer, can := s.bind(t).(cleanup.Previewer)
	if !can {
		t.Skip("the plugin cannot preview")
	}
	call := s.call(t, s.Node(t, "conformance-preview"))
	before := s.effects(t)
	effects, err := previewer.Preview(t.Context(), call.target)
	data, encodingErr := json.Marshal(effects)
	if encodingErr != nil {
		t.Fatal(encodingErr)
	}
	call.check(err, string(data))
	if err != nil || len(effects) == 0 {
		t.Errorf("previewed %v, %v", effects, err)
	}
	for _, effect := range effects {
		if !regexp.MustCompile(`^[A-Z][A-Za-z]*$`).MatchString(string(effect.Action)) {
			t.Errorf("the action of an effect is %q", effect.Action)
		}
		if effect.Object == (cleanup.Object{}) && effect.Reason == "" {
			t.Errorf("an effect has neither an object nor a reason: %s", effect.Action)
		}
		if effect.Object != (cleanup.Object{}) && (effect.Object.Kind == "" || effect.Object.Name == "") {
			t.Errorf("the object of an effect lacks a kind or a name: %+v", effect.Object)
		}
		if effect.Blocked != nil && (effect.Blocked.Cause == "" || effect.Blocked.Message == "") {
			t.Errorf("a blocked effect lacks a cause or a message: %+v", effect.Blocked)
		}
	}
	if after := s.effects(t); after != before {
		t.Errorf("the preview had %d effects", after-before)
	}
	if said := call.said(); said != "" {
		t.Errorf("the preview does not return what it says, it logs: %s", said)
	}
}

func (s Suite) repeats(t *testing.T) {
	plugin, call := s.bind(t), s.call(t, s.Node(t, "conformance-again"))
	before := s.effects(t)
	for attempt := 1; attempt <= 2; attempt++ {
		call.target.Attempt = attempt
		err := plugin.Cleanup(t.Context(), call.target)
		call.check(err)
		if err != nil {
			t.Fatalf("attempt %d: %v", attempt, err)
		}
	}
	if s.Effects != nil && s.effects(t) == before {
		t.Error("nothing was done, so the test proves nothing")
	}
	if verifier, can := plugin.(cleanup.Verifier); can {
		done := s.effects(t)
		if undone, err := verifier.Verify(t.Context(), call.target); undone != "" || err != nil {
			t.Errorf("after the cleanup it is not done: %s, %v", undone, err)
		}
		if s.effects(t) != done {
			t.Error("the verification changed something")
		}
	}
}

func (s Suite) concurs(t *testing.T) {
	plugin := s.bind(t)
	var calls []*call
	for i := range 3 {
		calls = append(calls, s.call(t, s.Node(t, fmt.Sprintf("conformance-%d", i))))
	}
	var group sync.WaitGroup
	for _, call := range calls {
		group.Go(func() {
			err := plugin.Cleanup(t.Context(), call.target)
			call.check(err)
			if err != nil {
				t.Errorf("node %s: %v", call.target.Node.Name, err)
			}
		})
	}
	group.Wait()
}

func (s Suite) stops(t *testing.T) {
	if s.Hang == nil {
		t.Skip("the plugin never waits")
	}
	node := s.Node(t, "conformance-hang")
	waiting := s.Hang(t, node)
	plugin, call := s.bind(t), s.call(t, node)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- plugin.Cleanup(ctx, call.target) }()
	select {
	case <-waiting:
	case err := <-ended:
		t.Fatalf("the plugin did not wait: %v", err)
	}
	cancel()
	select {
	case err := <-ended:
		call.check(err)
		if err == nil {
			t.Error("the plugin says that it is done")
		}
		if cleanup.IsPermanent(err) {
			t.Errorf("the plugin says that it is not to be tried again: %v", err)
		}
	case <-time.After(soon):
		t.Fatalf("the plugin did not return within %s", soon)
	}
}

func (s Suite) fails(t *testing.T) {
	if s.Break == nil {
		t.Skip("the plugin cannot fail")
	}
	node := s.Node(t, "conformance-broken")
	s.Break(t)
	call := s.call(t, node)
	err := s.bind(t).Cleanup(t.Context(), call.target)
	call.check(err)
	if err == nil {
		t.Error("the plugin did not fail")
	}
}

func (s Suite) effects(t *testing.T) int {
	if s.Effects == nil {
		return 0
	}
	return s.Effects(t)
}

// call is one target with the output that it receives.
type call struct {
	t      *testing.T
	target cleanup.Target
	before *corev1.Node
	canary string

	mutex sync.Mutex
	words strings.Builder
}

func (s Suite) call(t *testing.T, node *corev1.Node) *call {
	c := &call{t: t, before: node.DeepCopy(), canary: s.Canary}
	c.target = cleanup.Target{
		Node: node, Attempt: 1, Began: time.Now(), IdempotencyKey: string(node.UID) + "/conformance",
		Log:      slog.New(slog.NewTextHandler(c, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Progress: func(text string) { fmt.Fprintln(c, text) },
	}
	return c
}

// Write implements io.Writer and stores the log.
func (c *call) Write(words []byte) (int, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.words.Write(words)
}

func (c *call) said() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.words.String()
}

// check fails the test if the output contains a secret or if the Node, which is shared, was
// changed.
func (c *call) check(err error, lines ...string) {
	c.t.Helper()
	said := c.said() + strings.Join(lines, "\n")
	if err != nil {
		said += err.Error()
	}
	if c.canary != "" && strings.Contains(said, c.canary) {
		c.t.Errorf("the plugin gave a secret away: %s", said)
	}
	if !equality.Semantic.DeepEqual(c.target.Node, c.before) {
		c.t.Error("the plugin changed the Node that it was given")
	}
}
