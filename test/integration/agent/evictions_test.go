package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// evictionGate holds eviction requests back and counts them.
type evictionGate struct {
	open chan struct{}

	mutex             sync.Mutex
	inFlight, highest int
}

func (g *evictionGate) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.Method != http.MethodPost || !strings.HasSuffix(request.URL.Path, "/eviction") {
			return next.RoundTrip(request)
		}
		g.count(1)
		defer g.count(-1)
		select {
		case <-g.open:
			return next.RoundTrip(request)
		case <-request.Context().Done():
			return nil, request.Context().Err()
		}
	})
}

func (g *evictionGate) count(change int) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.inFlight += change
	g.highest = max(g.highest, g.inFlight)
}

func (g *evictionGate) counts() (inFlight, highest int) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.inFlight, g.highest
}

func TestEvictionsOfAllNodesShareTheLimitOfTheConfig(t *testing.T) {
	config := func(limit int) string {
		return fmt.Sprintf("concurrency: {evictions: %d}\nsteps: [{name: drain, plugin: drain}]\n", limit)
	}
	f := setUp(t, config(2))
	g := &evictionGate{open: make(chan struct{})}
	options := f.options()
	options.REST.Wrap(g.wrap)
	f.start(options)
	var nodes []*corev1.Node
	var pods []*corev1.Pod
	for i := range 8 {
		node := f.protected(fmt.Sprintf("worker-%d", i))
		nodes, pods = append(nodes, node), append(pods, f.pod(node.Name, node))
	}
	for _, node := range nodes {
		f.delete(node)
	}
	for _, node := range nodes {
		f.eventually("the drain of "+node.Name+" has cordoned it", func(context.Context) (bool, error) {
			return f.read(node).Annotations[api.AnnotationCordonedBy] != "", nil
		})
	}
	full := func(limit int) {
		t.Helper()
		f.eventually(fmt.Sprintf("%d evictions are in flight", limit), func(context.Context) (bool, error) {
			inFlight, _ := g.counts()
			return inFlight >= limit, nil
		})
		if _, highest := g.counts(); highest != limit {
			t.Errorf("%d evictions were in flight, the limit is %d", highest, limit)
		}
	}
	full(2)
	g.open <- struct{}{} // The next one takes its place.
	full(2)
	f.configure(config(4))
	full(4)
	close(g.open)
	for i, pod := range pods {
		f.eventually("pod "+pod.Name+" is evicted", func(ctx context.Context) (bool, error) {
			current, err := f.client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, pod.Name, metav1.GetOptions{})
			return err == nil && current.DeletionTimestamp != nil, err
		})
		f.kill(pod)
		f.awaitDeleted(nodes[i])
	}
	if _, highest := g.counts(); highest != 4 {
		t.Errorf("%d evictions were in flight, the limit is 4", highest)
	}
}
