// Package monitoring reads the monitoring pack, manifests/monitoring, for the tests
// that hold it against the agent and against Prometheus.
package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"

	"sigs.k8s.io/yaml"
)

// Rule is an alert.
type Rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// Target is a query of a panel. Expr contains Grafana's variables.
type Target struct {
	RefID string `json:"refId"`
	Expr  string `json:"expr"`
}

// Panel of the dashboard; a row is one without targets.
type Panel struct {
	ID          int             `json:"id"`
	Type        string          `json:"type"`
	Title       string          `json:"title"`
	Description string          `json:"description"`
	Targets     []Target        `json:"targets"`
	Datasource  json.RawMessage `json:"datasource"`
	GridPos     struct {
		X, Y, W, H int
	} `json:"gridPos"`
}

// AlertsFile is the path of the rule file, DashboardFile the path of the dashboard.
func AlertsFile() string    { return inRepository("manifests", "monitoring", "alerts.yaml") }
func DashboardFile() string { return inRepository("manifests", "monitoring", "dashboard.json") }

// Document returns a file of docs.
func Document(name string) (string, error) {
	text, err := os.ReadFile(inRepository("docs", name))
	return string(text), err
}

// Rules returns the alerts, in the order of the file.
func Rules() ([]Rule, error) {
	var file struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []Rule `json:"rules"`
		} `json:"groups"`
	}
	text, err := os.ReadFile(AlertsFile())
	if err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		return nil, fmt.Errorf("reading %s: %w", AlertsFile(), err)
	}
	var all []Rule
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all, nil
}

// Panels returns the dashboard's panels, rows among them, in the order of the file.
func Panels() ([]Panel, error) {
	var dashboard struct {
		Panels []Panel `json:"panels"`
	}
	text, err := os.ReadFile(DashboardFile())
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		return nil, fmt.Errorf("reading %s: %w", DashboardFile(), err)
	}
	return dashboard.Panels, nil
}

var (
	metric = regexp.MustCompile(`\b(node_cleanup|apiserver|rest_client|workqueue|leader_election|process|go)_[a-z0-9_]+(\([a-z_|]+\)_[a-z_]+)?`)
	choice = regexp.MustCompile(`^(.*)\(([a-z_]+)\|([a-z_]+)\)(.*)$`)
)

// Metrics returns the names of the metrics in a query, each once; of a choice of two,
// "a_(b|c)_d", both.
func Metrics(query string) []string {
	var names []string
	for _, name := range metric.FindAllString(query, -1) {
		if parts := choice.FindStringSubmatch(name); parts != nil {
			names = append(names, parts[1]+parts[2]+parts[4], parts[1]+parts[3]+parts[4])
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func inRepository(path ...string) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(append([]string{filepath.Dir(here), "..", ".."}, path...)...)
}
