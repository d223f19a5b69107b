package monitoring

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// agents returns the metrics of an agent after each event has happened once: a metric with labels
// appears with its first event.
func agents(t *testing.T) string {
	t.Helper()
	m := metrics.New()
	m.Controller(func() metrics.Cleanups { return metrics.Cleanups{Oldest: time.Unix(9, 0)} })
	m.WebhookRequest("CREATE", "patched", time.Millisecond)
	m.StepChanged(&api.StepRun{Plugin: "drain", State: api.StepRunning, Attempts: 2}, 0)
	m.StepChanged(&api.StepRun{Plugin: "drain", State: api.StepSucceeded}, time.Second)
	m.PluginHealth([]api.PluginHealth{{Step: "tell", Plugin: "http", Checks: true}})
	m.NotificationHealth([]api.NotificationHealth{{Notification: "ops", Plugin: "http", Checks: true}})
	m.NotificationDelivered("ops", "http")
	m.ActiveConfig("abc", time.Unix(8, 0))
	m.ConfigReloaded(true)
	useClientGo(t)
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text, err := io.ReadAll(recorder.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// useClientGo sends a request to an API server, and one item through a work queue.
func useClientGo(t *testing.T) {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Nodes().Get(t.Context(), "worker", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	queue := workqueue.NewTypedRateLimitingQueueWithConfig(workqueue.DefaultTypedControllerRateLimiter[string](), workqueue.TypedRateLimitingQueueConfig[string]{Name: "nodes"})
	defer queue.ShutDown()
	queue.Add("worker")
	item, _ := queue.Get()
	queue.Done(item)
}

var (
	typed = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	row   = regexp.MustCompile("(?m)^\\| `(node_cleanup_\\S+)` \\| (\\S+) \\|")
)

func TestDocumentedMetricsMatchTheAgent(t *testing.T) {
	has, documented := map[string]string{}, map[string]string{}
	for _, match := range typed.FindAllStringSubmatch(agents(t), -1) {
		if strings.HasPrefix(match[1], "node_cleanup_") {
			has[match[1]] = match[2]
		}
	}
	text, err := Document("metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range row.FindAllStringSubmatch(text, -1) {
		documented[match[1]] = match[2]
	}
	if len(has) == 0 || !maps.Equal(has, documented) {
		t.Errorf("the agent has      %s\ndocs/metrics.md has %s", lines(has), lines(documented))
	}
}

func lines(metrics map[string]string) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		fmt.Fprintf(&text, "\n  %s %s", name, metrics[name])
	}
	return text.String()
}

// Metrics of API servers are checked with a real API server, see test/integration/monitoring.
func TestRulesAndDashboardUseExistingMetrics(t *testing.T) {
	served := map[string]bool{}
	for line := range strings.Lines(agents(t)) {
		if !strings.HasPrefix(line, "#") {
			served[line[:strings.IndexAny(line, "{ ")]] = true
		}
	}
	asked := 0
	ask := func(who, query string) {
		for _, name := range Metrics(query) {
			if strings.HasPrefix(name, "apiserver_") {
				continue
			}
			if asked++; !served[name] {
				t.Errorf("%s asks for %s, which the agent does not have", who, name)
			}
		}
	}
	for _, rule := range rules(t) {
		ask("alert "+rule.Alert, rule.Expr)
	}
	for _, panel := range panels(t) {
		for _, target := range panel.Targets {
			ask(fmt.Sprintf("panel %q", panel.Title), target.Expr)
		}
	}
	if asked == 0 {
		t.Error("no metric was found in any query")
	}
}

func TestMetricsInAQuery(t *testing.T) {
	for query, want := range map[string][]string{
		"":              nil,
		`up{job="a"}`:   nil,
		"time() - 3600": nil,
		`sum by (cluster, le) (rate(node_cleanup_duration_seconds_bucket{cluster=~"a"}[5m]))`: {"node_cleanup_duration_seconds_bucket"},
		"node_cleanup_leader and on (job) node_cleanup_leader > process_cpu_seconds_total":    {"node_cleanup_leader", "process_cpu_seconds_total"},
		`{__name__=~"apiserver_admission_webhook_(fail_open|rejection)_count",name="x"}`:      {"apiserver_admission_webhook_fail_open_count", "apiserver_admission_webhook_rejection_count"},
	} {
		if got := Metrics(query); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}
