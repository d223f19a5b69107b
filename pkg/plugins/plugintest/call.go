package plugintest

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// call is one target with the output that it receives.
type call struct {
	t      *testing.T
	target cleanup.Target
	before *corev1.Node
	canary string

	recorded
	// outputs since the last take; mutex guards them, too.
	outputs map[string]string
}

func (s Suite) call(t *testing.T, node *corev1.Node) *call {
	c := &call{t: t, before: node.DeepCopy(), canary: s.Canary}
	c.target = cleanup.Target{
		Node: node, Step: "conformance", Attempt: 1, Began: time.Now(), IdempotencyKey: string(node.UID) + "/conformance",
		Log:      slog.New(slog.NewTextHandler(c, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Progress: func(text string) { fmt.Fprintln(c, text) },
		Recorded: c.record,
	}
	return c
}

// record implements Target.Recorded.
func (c *call) record(name, value string) error {
	fmt.Fprintln(c, name, value) // For the search for secrets.
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.outputs == nil {
		c.outputs = map[string]string{}
	}
	c.outputs[name] = value
	return nil
}

// take returns the outputs that were recorded since the last call.
func (c *call) take() map[string]string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	outputs := c.outputs
	c.outputs = nil
	return outputs
}

// check fails the test if the output contains a secret or if the Node, which is shared, was
// changed.
func (c *call) check(err error, lines ...string) {
	c.t.Helper()
	said := c.String() + strings.Join(lines, "\n")
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
