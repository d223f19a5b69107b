package dashboard

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

const (
	// settle is how long changes are gathered before they are shown.
	settle = 500 * time.Millisecond
	// readAgentEvery is how often the agent itself is read: its Lease changes all the time, and a watch of it
	// would report nothing else.
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
	// revision counts the changes of the fields below; changed is closed at the next one.
	revision uint64
	changed  chan struct{}
	status   *printer.Status
	nodes    *NodeList
	runs     map[string]*api.Run
	// problem is why the newest state is not known, empty if it is.
	problem string
}

// view is what was read last.
type view struct {
	revision uint64
	changed  <-chan struct{}
	status   *printer.Status
	nodes    *NodeList
	runs     map[string]*api.Run
	problem  string
}

// view returns what was read last. The objects are shared: nobody changes them.
func (c *Cluster) view() view {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return view{c.revision, c.changed, c.status, c.nodes, c.runs, c.problem}
}

// update changes the fields and closes the channel on which streams wait.
func (c *Cluster) update(change func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	change()
	c.revision++
	if c.changed != nil {
		close(c.changed)
	}
	c.changed = make(chan struct{})
}

// follow reads the cluster until ctx ends. A refused request is shown, and sent again.
func (c *Cluster) follow(ctx context.Context) error {
	for {
		err := c.watch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			c.update(func() { c.problem = err.Error() })
		}
		timer := time.NewTimer(retryRefused)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// watch shows every change until the API server refuses a request. Nothing is shown before nodes and run records
// are complete.
func (c *Cluster) watch(ctx context.Context) error {
	nodes := cluster.Nodes(c.Client, metav1.ListOptions{})
	nodes.Trim, nodes.Matters = trim, matters
	records := cluster.ConfigMaps(c.Client, c.Namespace, "run records in namespace "+c.Namespace, metav1.ListOptions{LabelSelector: cluster.RunSelector})
	reader := inspect.NewReader(c.Client, c.Namespace, c.Now)
	lost := func(line string) { c.update(func() { c.problem = line }) }
	watcher := cluster.Watcher{Report: lost, Settle: settle, Recheck: readAgentEvery}
	return watcher.Until(ctx, func(ctx context.Context) (bool, error) {
		seen, err := reader.Agent(ctx)
		if err != nil {
			return false, err
		}
		all := nodes.All()
		seen.SetNodes(all, records.Named)
		seen.ReadSelector(ctx, c.Client)
		status := inspect.Assess(seen, version.Version, c.Now())
		list, runs := nodeList(all, seen, status, c.Now()), map[string]*api.Run{}
		for _, node := range seen.Leaving {
			if run := seen.Runs[node.UID]; run != nil {
				runs[node.Name] = run
			}
		}
		c.update(func() { c.status, c.nodes, c.runs, c.problem = status, list, runs, "" })
		return false, nil
	}, nodes, records)
}

// matters reports whether a change of a node shows: most are heartbeats.
func matters(before, after *corev1.Node) bool {
	return before.UID != after.UID || before.Spec.Unschedulable != after.Spec.Unschedulable || api.HasFinalizer(before) != api.HasFinalizer(after) ||
		inspect.IsLeaving(before) || inspect.IsLeaving(after) || !maps.Equal(before.Annotations, after.Annotations) || !maps.Equal(before.Labels, after.Labels)
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
func (v view) waiting() error {
	if v.problem != "" {
		return fmt.Errorf("the cluster cannot be read: %s", v.problem)
	}
	return fmt.Errorf("the cluster is being read")
}
