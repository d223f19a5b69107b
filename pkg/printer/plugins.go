package printer

import (
	"fmt"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// PluginHealth is how the plugin of one step is.
type PluginHealth struct {
	Step     string `json:"step"`
	Plugin   string `json:"plugin"`
	Critical bool   `json:"critical"`
	Health   Health `json:"health"`
	// Error is the fault, empty for a healthy plugin.
	Error     string       `json:"error,omitempty"`
	CheckedAt *metav1.Time `json:"checkedAt,omitempty"`
	HealthyAt *metav1.Time `json:"healthyAt,omitempty"`
	// MissingRules grant the rights that the agent lacks for the options of the step.
	MissingRules []rbacv1.PolicyRule `json:"missingRules,omitempty"`
	// MissingNamespaceRules grant those in single namespaces, by namespace.
	MissingNamespaceRules map[string][]rbacv1.PolicyRule `json:"missingNamespaceRules,omitempty"`
}

// NotificationHealth is how the plugin of one notification is. The fields are as those of PluginHealth.
type NotificationHealth struct {
	Notification string              `json:"notification"`
	Plugin       string              `json:"plugin"`
	Health       Health              `json:"health"`
	Error        string              `json:"error,omitempty"`
	CheckedAt    *metav1.Time        `json:"checkedAt,omitempty"`
	HealthyAt    *metav1.Time        `json:"healthyAt,omitempty"`
	MissingRules []rbacv1.PolicyRule `json:"missingRules,omitempty"`
}

// Dated is like that of PluginHealth.
func (n NotificationHealth) Dated(now time.Time) string { return n.plugin().Dated(now) }

// ByProblem groups names by their problems, in the order of the first name of each. The format takes the names
// and the problem.
func ByProblem(names, problems []string, format string) []string {
	var order []string
	together := map[string][]string{}
	for i, problem := range problems {
		if together[problem] == nil {
			order = append(order, problem)
		}
		together[problem] = append(together[problem], names[i])
	}
	var lines []string
	for _, problem := range order {
		lines = append(lines, fmt.Sprintf(format, strings.Join(together[problem], ", "), problem))
	}
	return lines
}

func (n NotificationHealth) plugin() PluginHealth {
	return PluginHealth{Health: n.Health, Error: n.Error, CheckedAt: n.CheckedAt, HealthyAt: n.HealthyAt}
}

func (p PluginHealth) problem(now time.Time) string {
	switch {
	case p.Health == Unknown:
		return "this plugin has no health check"
	case p.Error == "":
		return ""
	case p.HealthyAt == nil:
		return p.Error
	}
	return fmt.Sprintf("%s, last ok %s ago", p.Error, Age(now.Sub(p.HealthyAt.Time)))
}

// Dated returns the problem with the age of the health check that found it, if there was one.
func (p PluginHealth) Dated(now time.Time) string {
	if p.CheckedAt == nil {
		return p.problem(now)
	}
	return fmt.Sprintf("%s, checked %s ago", p.problem(now), Age(now.Sub(p.CheckedAt.Time)))
}

// Plugins is the view of how the plugin of each step is.
type Plugins struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Time       metav1.Time `json:"time"`
	// Asked: the answers are to a request of this command, not older ones.
	Asked   bool           `json:"asked"`
	Plugins []PluginHealth `json:"plugins"`
	// Notifications are those of the config, with the plugin of each. No cleanup depends on them.
	Notifications []NotificationHealth `json:"notifications,omitempty"`
	// Blocked lists the blockers of the steps on one node, for preflight.
	Blocked []Blocker `json:"blocked,omitempty"`
	// Unprotected is the cause why the config does not select the node. Then there are no steps.
	Unprotected string `json:"unprotected,omitempty"`
	// Notes name the parts of the plan that could not be read, with the causes.
	Notes []string `json:"notes,omitempty"`
	// Lacks names the roles and bindings that the agent lacks, if that is why it lacks rights.
	Lacks string `json:"lacks,omitempty"`
	// Remedy is the command that gives the agent the rights that it lacks, empty if it lacks none.
	Remedy string `json:"remedy,omitempty"`
	// Manifest is YAML that gives it these rights, too. It is empty if Remedy restores a role or a binding.
	Manifest string `json:"manifest,omitempty"`
}

// NewPlugins returns an empty view.
func NewPlugins(now time.Time) *Plugins {
	return &Plugins{APIVersion: APIVersion, Kind: "PluginHealthList", Time: metav1.NewTime(now), Plugins: []PluginHealth{}}
}

// apply introduces the manifest, alone or after a command.
var apply = map[bool]string{false: "To give the agent the rights that it lacks, apply:", true: "Or apply:"}

// Text writes a row for each step.
func (p *Plugins) Text(text *Text) {
	checked := func(at *metav1.Time) Cell {
		if at == nil {
			return Cell{Text: OrDash("")}
		}
		return Cell{Text: Age(p.Time.Sub(at.Time)) + " ago"}
	}
	rows := [][]Cell{Cells("STEP", "PLUGIN", "CRITICAL", "HEALTH", "CHECKED", "PROBLEM")}
	for _, plugin := range p.Plugins {
		rows = append(rows, []Cell{
			{Text: plugin.Step}, {Text: plugin.Plugin}, {Text: yesNo(plugin.Critical)}, health(plugin.Health),
			checked(plugin.CheckedAt), {Text: OrDash(plugin.problem(p.Time.Time))},
		})
	}
	switch {
	case p.Unprotected != "":
		text.Line("No cleanup: %s", p.Unprotected)
	case len(p.Plugins) > 0 || len(p.Notifications) == 0:
		text.Table(rows)
	}
	if len(p.Notifications) > 0 {
		rows = [][]Cell{Cells("NOTIFICATION", "PLUGIN", "HEALTH", "CHECKED", "PROBLEM")}
		for _, one := range p.Notifications {
			rows = append(rows, []Cell{{Text: one.Notification}, {Text: one.Plugin}, health(one.Health), checked(one.CheckedAt), {Text: OrDash(one.plugin().problem(p.Time.Time))}})
		}
		text.Table(rows)
	}
	for _, note := range p.Notes {
		text.Line("Note: %s", note)
	}
	blockers(text, p.Blocked)
	if p.Lacks != "" {
		text.Line("Cause: %s", p.Lacks)
	}
	if p.Remedy != "" {
		text.Line("Give the agent the rights that it lacks: %s", p.Remedy)
	}
	if p.Manifest != "" {
		text.Line("%s", apply[p.Remedy != ""])
		for line := range strings.Lines(p.Manifest) {
			text.Line("%s", strings.TrimSuffix(line, "\n"))
		}
	}
}

// Short writes a line for each plugin that is unhealthy.
func (p *Plugins) Short(text *Text) {
	healthy := 0
	for _, plugin := range p.Plugins {
		if plugin.Error == "" {
			healthy++
			continue
		}
		text.Line("%s (%s): %s", plugin.Step, plugin.Plugin, plugin.problem(p.Time.Time))
	}
	for _, one := range p.Notifications {
		if one.Error != "" {
			text.Line("notification %s (%s): %s", one.Notification, one.Plugin, one.plugin().problem(p.Time.Time))
		}
	}
	if p.Unprotected != "" {
		text.Line("no cleanup: %s", p.Unprotected)
	}
	sum := fmt.Sprintf("%d of %s without a problem, %s", healthy, api.Count(len(p.Plugins), "plugin"), api.Count(len(p.Blocked), "blocker"))
	if len(p.Notes) > 0 {
		sum += "; not known: " + strings.Join(p.Notes, "; ")
	}
	text.Line("%s", sum)
}

// Names returns the steps and the notifications.
func (p *Plugins) Names() []string {
	var names []string
	for _, plugin := range p.Plugins {
		names = append(names, "step/"+plugin.Step)
	}
	for _, one := range p.Notifications {
		names = append(names, "notification/"+one.Notification)
	}
	return names
}

// Catalog is the view of the plugins that a config can name.
type Catalog struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Plugins    []CatalogPlugin `json:"plugins"`
}

// CatalogPlugin is one plugin of the catalog.
type CatalogPlugin struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	// Critical and TimeoutSeconds are the defaults of a step.
	Critical       bool  `json:"critical"`
	TimeoutSeconds int64 `json:"timeoutSeconds"`
	// Steps of the config on the cluster that use it.
	Steps []string `json:"steps,omitempty"`
}

// NewCatalog returns an empty view.
func NewCatalog() *Catalog {
	return &Catalog{APIVersion: APIVersion, Kind: "PluginList", Plugins: []CatalogPlugin{}}
}

// Text writes a row for each plugin.
func (c *Catalog) Text(text *Text) {
	rows := [][]Cell{Cells("PLUGIN", "STEPS", "SUMMARY")}
	for _, plugin := range c.Plugins {
		rows = append(rows, Cells(plugin.Name, OrDash(joined(plugin.Steps)), plugin.Summary))
	}
	text.Table(rows)
}

// Wide writes the defaults too.
func (c *Catalog) Wide(text *Text) {
	rows := [][]Cell{Cells("PLUGIN", "CRITICAL", "TIMEOUT", "STEPS", "SUMMARY")}
	for _, plugin := range c.Plugins {
		timeout := time.Duration(plugin.TimeoutSeconds) * time.Second
		rows = append(rows, Cells(plugin.Name, yesNo(plugin.Critical), Age(timeout), OrDash(joined(plugin.Steps)), plugin.Summary))
	}
	text.Table(rows)
}

// Names returns the plugins.
func (c *Catalog) Names() []string {
	var names []string
	for _, plugin := range c.Plugins {
		names = append(names, "plugin/"+plugin.Name)
	}
	return names
}

// Rows names the field of the plugins of the steps.
func (p *Plugins) Rows() string { return "plugins" }

// Rows names the field of the plugins.
func (c *Catalog) Rows() string { return "plugins" }
