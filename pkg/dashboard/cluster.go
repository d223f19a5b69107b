package dashboard

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/sleep"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

const (
	// settle is how long changes are gathered before they are shown.
	settle = 500 * time.Millisecond
	// readAgentEvery is how often the agent itself is read.
	readAgentEvery = 5 * time.Second
	// retryRefused is how long after a refused request the cluster is read again: rights can be given, and a
	// login renewed.
	retryRefused = 10 * time.Second
)

// Cluster is one cluster that the page shows. Its exported fields are set before it is served.
type Cluster struct {
	Client    kubernetes.Interface
	Namespace string
	// Context and Server name the cluster, User the caller, as the page shows them.
	Context, Server, User string
	// Now is the API server's time.
	Now func() time.Time

	mutex sync.Mutex
	state state
}

// state is what was read last. Its objects are shared: nobody changes them.
type state struct {
	// changed is closed when anything of it changes. Revision counts the changes of the nodes and their cleanups, which the
	// page reads separately.
	changed  chan struct{}
	revision uint64
	status   *printer.Status
	nodes    *NodeList
	// problem is why the newest state is not known, empty if it is.
	problem string
}

// read returns what was read last.
func (c *Cluster) read() state {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.state.changed == nil {
		c.state.changed = make(chan struct{})
	}
	return c.state
}

// update changes the state and wakes the streams.
func (c *Cluster) update(change func(*state)) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	change(&c.state)
	if c.state.changed != nil {
		close(c.state.changed)
	}
	c.state.changed = make(chan struct{})
}

// follow reads the cluster until ctx ends. A refused request is shown, and sent again.
func (c *Cluster) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.watch(ctx)
		c.setProblem(err)
		_ = sleep.For(ctx, clock.RealClock{}, retryRefused) // The loop looks at the context.
	}
}

// setProblem says why the newest state is not known; nil if it is.
func (c *Cluster) setProblem(err error) {
	c.update(func(s *state) {
		if s.problem = ""; err != nil {
			s.problem = err.Error()
		}
	})
}

// watch keeps the state until the API server refuses a request.
func (c *Cluster) watch(ctx context.Context) error {
	live := inspect.Live{
		Client: c.Client, Namespace: c.Namespace, Now: c.Now, Trim: trim,
		Watcher: cluster.Watcher{Unavailable: c.setProblem, Settle: settle, Recheck: readAgentEvery},
	}
	return live.Run(ctx, func(snapshot *inspect.Snapshot, nodes []*corev1.Node) error {
		c.show(snapshot, nodes)
		return nil
	})
}

// show makes a snapshot the state.
func (c *Cluster) show(snapshot *inspect.Snapshot, nodes []*corev1.Node) {
	now := c.Now()
	status := inspect.Assess(snapshot, version.Version, now)
	list := nodeList(nodes, snapshot, status, now)
	c.update(func(s *state) {
		// Most reads find nothing new, and thousands of nodes should not be sent again for them.
		if s.nodes == nil || !reflect.DeepEqual(s.nodes, list) || !reflect.DeepEqual(s.status.Cleanups, status.Cleanups) {
			s.revision++
		}
		s.status, s.nodes, s.problem = status, list, ""
	})
}

// About says which cluster the page shows, and as whom.
type About struct {
	Context   string `json:"context"`
	Server    string `json:"server"`
	User      string `json:"user,omitempty"`
	Namespace string `json:"namespace"`
	Version   string `json:"version"`
}

func (c *Cluster) about() About {
	return About{Context: c.Context, Server: c.Server, User: c.User, Namespace: c.Namespace, Version: version.Version}
}

// waiting is the error before the first read is complete.
func (s state) waiting() error {
	if s.problem != "" {
		return fmt.Errorf("the cluster cannot be read: %s", s.problem)
	}
	return fmt.Errorf("the cluster is being read")
}
