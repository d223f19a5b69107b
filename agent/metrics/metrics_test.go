package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func used() *Metrics {
	m := New()
	m.Controller(func() Cleanups {
		return Cleanups{WithFinalizer: 5, Unprotected: 2, Active: 1, Queued: 3, Unfinished: map[api.State]int{api.Failed: 4}, Oldest: time.Unix(9, 0)}
	})
	m.StepChanged(&api.StepRun{Plugin: "drain", State: api.StepRunning, Attempts: 2}, 0)
	m.ActiveConfig("abc", time.Unix(8, 0))
	m.ActiveConfig("def", time.Unix(8, 0))
	m.PluginHealth([]api.PluginHealth{{Step: "gone", Plugin: "http", Checks: true}})
	m.PluginHealth([]api.PluginHealth{{Step: "tell", Plugin: "http", Checks: true, Error: "no route"}, {Step: "log", Plugin: "logger"}})
	m.WebhookRequest("CREATE", "patched", time.Millisecond)
	m.StepChanged(&api.StepRun{Plugin: "drain", State: api.StepSucceeded}, time.Second)
	m.StepChanged(&api.StepRun{Plugin: "drain", State: api.StepSkipped}, 0)
	m.NodeUnprotected()
	m.FinalizerAdded()
	m.Leading(true)
	m.ConfigReloaded(true)
	m.ConfigReloaded(false)
	m.CertificateExpiresAt(time.Unix(7, 0))
	m.ServingCertificateExpiresAt(time.Unix(8, 0))
	return m
}

func TestNamesAndHelpFollowPrometheusConventions(t *testing.T) {
	problems, err := testutil.GatherAndLint(used().registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

func TestMetricsAreServed(t *testing.T) {
	recorder := httptest.NewRecorder()
	used().Handler().ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`node_cleanup_webhook_requests_total{operation="CREATE",result="patched"} 1`,
		`node_cleanup_webhook_duration_seconds_count{operation="CREATE"} 1`,
		`node_cleanup_operations_total{plugin="drain",result="success"} 1`,
		`node_cleanup_operations_total{plugin="drain",result="skipped"} 1`,
		`node_cleanup_duration_seconds_count{plugin="drain"} 1`,
		"node_cleanup_nodes_with_finalizer 5",
		"node_cleanup_nodes_unprotected 2",
		"node_cleanup_runs_active 1",
		"node_cleanup_queue_depth 3",
		`node_cleanup_runs_unfinished{state="Failed"} 4`,
		`node_cleanup_runs_unfinished{state="Running"} 0`,
		"node_cleanup_oldest_unfinished_run_timestamp_seconds 9",
		`node_cleanup_retries_total{plugin="drain"} 1`,
		`node_cleanup_config_info{hash="def"} 1`,
		"node_cleanup_config_last_reload_success_timestamp_seconds 8",
		`node_cleanup_plugin_healthy{plugin="http",step="tell"} 0`,
		"node_cleanup_unprotected_deletions_total 1",
		"node_cleanup_finalizers_backfilled_total 1",
		"node_cleanup_leader 1",
		`node_cleanup_config_reloads_total{result="success"} 1`,
		`node_cleanup_config_reloads_total{result="error"} 1`,
		"node_cleanup_config_last_reload_successful 0",
		"node_cleanup_webhook_certificate_expiry_timestamp_seconds 7",
		"node_cleanup_webhook_serving_certificate_expiry_timestamp_seconds 8",
	} {
		if !strings.Contains(recorder.Body.String(), want+"\n") {
			t.Errorf("%q is missing", want)
		}
	}
	for _, stale := range []string{`hash="abc"`, `step="gone"`, `step="log"`} {
		if strings.Contains(recorder.Body.String(), stale) {
			t.Errorf("%q is still reported", stale)
		}
	}
}

func TestStepChangedCountsAttempts(t *testing.T) {
	m := New()
	for _, step := range []api.StepRun{
		{State: api.StepRunning, Attempts: 1}, {State: api.StepRetrying, Attempts: 1}, {State: api.StepRunning, Attempts: 2}, {State: api.StepFailed, Attempts: 2},
		{State: api.StepRunning, Attempts: 1}, {State: api.StepSucceeded, Attempts: 1}, {State: api.StepSkipped},
	} {
		step.Plugin = "drain"
		m.StepChanged(&step, time.Second)
	}
	for result, want := range map[string]float64{"error": 2, "success": 1, "skipped": 1} {
		if got := testutil.ToFloat64(m.operations.WithLabelValues("drain", result)); got != want {
			t.Errorf("%s: %v, want %v", result, got, want)
		}
	}
	if got := testutil.ToFloat64(m.retries.WithLabelValues("drain")); got != 1 {
		t.Errorf("%v retries, want 1", got)
	}
}
