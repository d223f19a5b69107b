package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Cleanups counts Nodes and cleanups. It is zero on agents that are not the leader.
type Cleanups struct {
	// WithFinalizer counts Nodes that have our finalizer. Unprotected counts Nodes that the
	// config selects, that lack it, and that are not being deleted.
	WithFinalizer, Unprotected int
	// Active counts the runs in progress.
	Active int
	// Queued counts changed Nodes that wait for a reconcile.
	Queued int
	// Unfinished counts cleanups that are not done, by state.
	Unfinished map[api.State]int
	// Oldest is when the oldest of them began, zero if there is none.
	Oldest time.Time
}

// cleanups collects at each scrape.
type cleanups struct{ read func() Cleanups }

// Controller registers the metrics that each scrape reads from the controller.
func (m *Metrics) Controller(read func() Cleanups) { m.registry.MustRegister(cleanups{read}) }

var (
	withFinalizer = prometheus.NewDesc("node_cleanup_nodes_with_finalizer", "Nodes that have the finalizer. 0 on agents that are not the leader.", nil, nil)
	unprotected   = prometheus.NewDesc("node_cleanup_nodes_unprotected", "Nodes that the config selects and that lack the finalizer, except Nodes that are being deleted. 0 on agents that are not the leader.", nil, nil)
	active        = prometheus.NewDesc("node_cleanup_runs_active", "Cleanups whose steps are running. 0 on agents that are not the leader.", nil, nil)
	queued        = prometheus.NewDesc("node_cleanup_queue_depth", "Changed Nodes that wait for a reconcile. 0 on agents that are not the leader.", nil, nil)
	unfinished    = prometheus.NewDesc("node_cleanup_runs_unfinished", "Cleanups that are not done. 0 on agents that are not the leader.", []string{"state"}, nil)
	oldest        = prometheus.NewDesc("node_cleanup_oldest_unfinished_run_timestamp_seconds", "Unix time when the oldest unfinished cleanup began. Absent if there is none, and on agents that are not the leader.", nil, nil)
)

// Describe implements prometheus.Collector.
func (cleanups) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{withFinalizer, unprotected, active, queued, unfinished, oldest} {
		descriptions <- description
	}
}

// Collect implements prometheus.Collector.
func (c cleanups) Collect(metrics chan<- prometheus.Metric) {
	now := c.read()
	gauge := func(description *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, value, labels...)
	}
	gauge(withFinalizer, float64(now.WithFinalizer))
	gauge(unprotected, float64(now.Unprotected))
	gauge(active, float64(now.Active))
	gauge(queued, float64(now.Queued))
	for _, state := range []api.State{api.Pending, api.Running, api.Waiting, api.Blocked, api.Failed} {
		gauge(unfinished, float64(now.Unfinished[state]), string(state))
	}
	if !now.Oldest.IsZero() {
		gauge(oldest, float64(now.Oldest.Unix()))
	}
}
