package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Many cleanups run, more wait, and from then on each of their writes is rejected.
func TestLostLeaseIsLoggedOnce(t *testing.T) {
	const nodes = 60
	for name, test := range map[string]struct {
		lose func(f *fixture, cut *atomic.Bool)
		says string
	}{
		"taken":       {func(f *fixture, _ *atomic.Bool) { f.takeLease("thief", time.Hour) }, `the Lease was taken by \"thief\"`},
		"not renewed": {func(_ *fixture, cut *atomic.Bool) { cut.Store(true) }, "the Lease could not be renewed within 3s"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, "concurrency: {nodes: 30}\nretry: {maxRetries: 1000, initialDelay: 10ms, maxDelay: 10ms}\nsteps:\n- {name: fails, plugin: probe}\n")
			var calls atomic.Int64
			f.probes[""] = func(ctx context.Context, target cleanup.Target) error {
				calls.Add(1)
				target.Progress(fmt.Sprint("try ", target.Attempt))
				return errors.New("the array is rebuilding")
			}
			options, log := f.logged()
			options.Lease = leader.Timing{Duration: 10 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: 2 * time.Second}
			var cut atomic.Bool
			options.REST.Wrap(func(next http.RoundTripper) http.RoundTripper {
				return roundTripper(func(request *http.Request) (*http.Response, error) {
					if cut.Load() && strings.Contains(request.URL.Path, "/leases/") {
						return nil, errors.New("no route to the API server")
					}
					return next.RoundTrip(request)
				})
			})
			f.start(options)
			var all []*corev1.Node
			for i := range nodes {
				all = append(all, f.protected(fmt.Sprint("worker-", i)))
			}
			for _, node := range all {
				f.delete(node)
			}
			f.eventually("cleanups are under way", func(context.Context) (bool, error) { return calls.Load() > nodes, nil })
			before := strings.Count(log.String(), "\n")
			test.lose(f, &cut)
			f.eventually("the agent does not lead", func(context.Context) (bool, error) {
				return f.metric(options.MetricsListen, "node_cleanup_leader ") == "node_cleanup_leader 0", nil
			})
			f.awaitLog(log, "level=ERROR msg=\"the Lease was lost, the next leader continues the cleanups\" err=\""+test.says)
			f.awaitLog(log, "stopped as the leader")
			var lines []string
			for _, line := range strings.Split(log.String(), "\n")[before:] {
				if strings.Contains(line, "Lease") || strings.Contains(line, "leader") || strings.Contains(line, "interrupted") || strings.Contains(line, "cancel") {
					lines = append(lines, line)
				}
			}
			// The lost Lease, the stopped work, the failed release of the Lease, and the new
			// leader.
			if len(lines) > 4 {
				t.Errorf("%d lines about the lost Lease:\n%s", len(lines), strings.Join(lines[:min(len(lines), 40)], "\n"))
			}
			t.Log(strings.Join(lines, "\n"))
		})
	}
}
