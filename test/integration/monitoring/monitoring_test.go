package monitoring_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/nodecleanup/kubectl-nodecleanup/test/monitoring"
)

// filledIn are Grafana's variables as it fills them in; "All" is the choice of clusters.
var filledIn = strings.NewReplacer("$cluster", ".*", "$__range", "5m", "$__rate_interval", "1m")

// fires are the alerts that the test triggers; the others must not fire.
var fires = []string{
	"NodeCleanupFailed",             // the cleanup of a Node has used up its tries
	"NodeCleanupDeletedUnprotected", // a Node was deleted while there was no agent
	"NodeCleanupWebhookUnreachable", // and two were created
	"NodeCleanupConfigRefused",      // the newest config is none
}

func TestAlertsAndDashboardAgainstARealPrometheus(t *testing.T) {
	s := newScene(t)
	prometheus := startPrometheus(t, s.metrics, s.namespace)
	// No agent runs yet: one node gets no finalizer, the other is deleted without it.
	s.create(t, "early")
	s.create(t, "lost", "example.com/other")
	s.delete(t, "lost")
	s.awaitData(t, prometheus, `apiserver_admission_webhook_fail_open_count{name="finalizer.nodecleanup.io"}`)

	s.start(t)
	// A rate needs a change between two scrapes, so each event happens twice.
	s.clean(t, "first")
	s.refused(t, "protected-1")
	s.awaitData(t, prometheus, `node_cleanup_operations_total{plugin="http",result="success"} and on () node_cleanup_webhook_requests_total{operation="DELETE"}`)
	s.clean(t, "second")
	s.refused(t, "protected-2")
	s.create(t, sad)
	s.delete(t, sad)
	s.configure(t, s.settings+"# changed\n")
	s.awaitData(t, prometheus, `node_cleanup_config_reloads_total{result="success"} > 0`)
	s.configure(t, s.settings+"unheard: of\n")
	s.awaitData(t, prometheus, `node_cleanup_config_reloads_total{result="error"} > 0`)

	t.Run("each query of the dashboard has data", func(t *testing.T) {
		panels, err := monitoring.Panels()
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		for _, panel := range panels {
			for _, target := range panel.Targets {
				asked++
				t.Run(fmt.Sprintf("%s %s", panel.Title, target.RefID), func(t *testing.T) {
					query := filledIn.Replace(target.Expr)
					if strings.Contains(query, "$") {
						t.Fatalf("there is a variable left in %s", query)
					}
					s.awaitData(t, prometheus, query)
				})
			}
		}
		if asked == 0 {
			t.Error("the dashboard asks for nothing")
		}
	})
	t.Run("the dashboard offers the clusters that there are", func(t *testing.T) { offersClusters(t, prometheus) })
	t.Run("the alerts of what happened are active, and no others", func(t *testing.T) {
		var active []string
		defer func() { t.Logf("active are %q, want %q", active, sorted(fires)) }()
		s.eventually(t, "the right alerts are active", func(ctx context.Context) (_ bool, err error) {
			active, err = activeAlerts(ctx, prometheus)
			return slices.Equal(active, sorted(fires)), err
		})
	})
}

// awaitData waits until a query has an answer that is a number. That it cannot be read
// is an error at once.
func (s *scene) awaitData(t *testing.T, prometheus v1.API, query string) {
	t.Helper()
	s.eventually(t, "there is data for "+query, func(ctx context.Context) (bool, error) {
		answer, _, err := prometheus.Query(ctx, query, time.Now())
		if err != nil {
			return false, err
		}
		samples, is := answer.(model.Vector)
		if !is {
			return false, fmt.Errorf("the answer is a %s", answer.Type())
		}
		return slices.ContainsFunc(samples, func(one *model.Sample) bool { return !math.IsNaN(float64(one.Value)) }), nil
	})
}

// activeAlerts returns the pending and firing alerts, each once, in order. A rule that Prometheus
// could not evaluate is an error.
func activeAlerts(ctx context.Context, prometheus v1.API) ([]string, error) {
	answer, err := prometheus.Rules(ctx, nil)
	if err != nil {
		return nil, err
	}
	var active []string
	evaluated := 0
	for _, group := range answer.Groups {
		for _, rule := range group.Rules {
			alert, is := rule.(v1.AlertingRule)
			if !is || alert.LastError != "" || alert.Health == v1.RuleHealthBad {
				return nil, fmt.Errorf("evaluating %v: %s", rule, alert.LastError)
			}
			evaluated++
			if len(alert.Alerts) > 0 {
				active = append(active, alert.Name)
			}
		}
	}
	all, err := monitoring.Rules()
	if err != nil {
		return nil, err
	}
	if evaluated != len(all) {
		return nil, fmt.Errorf("prometheus has %d rules, and the file %d", evaluated, len(all))
	}
	return slices.Compact(sorted(active)), nil
}

var offered = regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)

func offersClusters(t *testing.T, prometheus v1.API) {
	t.Helper()
	var dashboard struct {
		Templating struct {
			List []struct {
				Name  string
				Query json.RawMessage
			}
		}
	}
	text, err := os.ReadFile(monitoring.DashboardFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, variable := range dashboard.Templating.List {
		if variable.Name != "cluster" {
			continue
		}
		var query struct{ Query string }
		if err := json.Unmarshal(variable.Query, &query); err != nil {
			t.Fatal(err)
		}
		parts := offered.FindStringSubmatch(query.Query)
		if parts == nil {
			t.Fatalf("the variable asks %s", query.Query)
		}
		values, _, err := prometheus.LabelValues(t.Context(), parts[2], []string{parts[1]}, time.Now().Add(-time.Hour), time.Now())
		if err != nil || len(values) != 1 || values[0] != clusterLabel {
			t.Errorf("it offers %v, %v; want %s", values, err, clusterLabel)
		}
		return
	}
	t.Error("there is no variable for the cluster")
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }
