package printer_test

import (
	"bytes"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer/printertest"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/schema"
)

var night = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

func ago(length time.Duration) *metav1.Time { return &metav1.Time{Time: night.Add(-length)} }

func nodes() printer.View {
	list := printer.NewNodeList(night)
	list.Nodes = []printer.Node{
		{Name: "ip-10-0-7", UID: "u-7", Protected: true, Cordoned: true, State: "Failed", Stuck: true, Step: "2/4 storage", Reason: "no tries left", Created: *ago(240 * time.Hour), Since: ago(14 * time.Minute)},
		{Name: "ip-10-0-8", UID: "u-8", Protected: true, Created: *ago(time.Hour)},
		{Name: "ip-10-0-9", UID: "u-9", Created: *ago(time.Minute)},
	}
	return list
}

func nodesNotProtected() printer.View {
	list := printer.NewNodeList(night)
	for _, name := range []string{"a", "b", "c", "d"} {
		list.Nodes = append(list.Nodes, printer.Node{Name: name, UID: "u-" + name, Created: *ago(time.Hour), Unprotected: `outside the config's nodeSelector "pool=blue"`})
	}
	list.Nodes[3].Unprotected = "no agent adds the finalizer: no leader"
	return list
}

func nodesMarked() printer.View {
	list := printer.NewNodeList(night)
	list.Nodes = []printer.Node{
		{Name: "ip-10-0-8", UID: "u-8", Protected: true, Created: *ago(time.Hour)},
		{Name: "ip-10-0-9", UID: "u-9", Created: *ago(time.Hour), Bypass: bypass("ip-10-0-9")},
	}
	return list
}

func bypass(node string) *printer.Bypass {
	return &printer.Bypass{Node: node, By: "alice", Until: ago(-24 * time.Hour), Reason: "hardware lost"}
}

func history() printer.View {
	view := printer.NewHistory(night)
	view.Runs = []printer.PastRun{
		{Record: "run-ip-10-0-7-u7", Node: "ip-10-0-7", NodeUID: "u-7", State: "Failed", Message: "no tries left", PlanHash: "9f3c1a", StartedAt: *ago(14 * time.Minute), Steps: []printer.PastStep{
			{Name: "drain", Plugin: "drain", State: "Succeeded", Attempts: 1, Seconds: 41, Outputs: map[string]string{"ticket": "INC1", "by": "ops"}}, {Name: "storage", Plugin: "http", State: "Failed", Attempts: 6, Error: "503 Service Unavailable"},
		}},
		{Record: "run-ip-10-0-6-u6", Node: "ip-10-0-6", NodeUID: "u-6", State: "Bypassed", Bypass: "hardware lost", BypassedBy: "bob", BypassedByVerified: true, Bypasser: "bob", RetryRequestedBy: "rita", Retrier: "rita (unverified)", BreakGlass: "rack burns", RequestedBy: "jane", Requester: "jane (unverified)", PlanHash: "9f3c1a", StartedAt: *ago(time.Hour), FinishedAt: ago(50 * time.Minute), Steps: []printer.PastStep{}},
		{Record: "run-ip-10-0-5-u5", Node: "ip-10-0-5", NodeUID: "u-5", State: "Verifying", PlanHash: "9f3c1a", StartedAt: *ago(2 * time.Hour), Newer: "a newer version wrote run record run-ip-10-0-5-u5: this CLI does not know state Verifying; upgrade it", Steps: []printer.PastStep{
			{Name: "bmc", Plugin: "redfish", State: "PoweringOff", Attempts: 1},
		}},
	}
	view.Unreadable = []string{"cannot decode run record run-x: unexpected end of JSON input"}
	return view
}

func plan() *printer.Plan {
	view := printer.NewPlan("ip-10-0-7")
	view.NodeUID, view.Hash, view.EstimateSeconds, view.Volumes = "u-7", "9f3c1-0a2b4-77d1e-c0ffe", 95, []string{"pv-1", "pv-2"}
	view.Steps = []printer.PlanStep{
		{Wave: 1, Name: "drain", Plugin: "drain", Critical: true, Summary: "evict 2 pods, 1 BLOCKED", Effects: []api.Effect{
			{Action: api.ActionEvict, Object: api.Object{Kind: api.KindPod, Namespace: "shop", Name: "web-1"}},
			{Action: api.ActionEvict, Object: api.Object{Kind: api.KindPod, Namespace: "shop", Name: "cart-0"}, Blocked: &api.Blocker{Cause: api.BlockedByBudget, Message: "budget"}},
		}},
		{Wave: 2, Name: "tell-ops", Plugin: "http", Summary: "POST a document"},
	}
	view.Skipped = []printer.SkippedStep{{Name: "gpu", Reason: "the node's labels do not match"}}
	view.Blocked = []printer.Blocker{{What: "shop/cart-0", Reason: "needs 1 healthy, has 1", Remedy: "scale to 2"}, {What: "step tell-ops", Reason: "secret is missing"}}
	view.Notes = []string{"you are not allowed to list volumeattachments"}
	view.Bypass = bypass("ip-10-0-7")
	return view
}

func unhashed() *printer.Plan {
	view := printer.NewPlan("ip-10-0-8")
	view.NoHash = "you lack the rights to preview step drain"
	return view
}

func runnable() *printer.Plan {
	view := printer.NewPlan("ip-10-0-9")
	view.Hash = "0f3c1-0a2b4-77d1e-c0ffe"
	return view
}

func unprotected() printer.View {
	view := printer.NewPlan("ip-10-0-9")
	view.Unprotected = "the config's nodeSelector does not select this node"
	return view
}

func plugins() printer.View {
	view := printer.NewPlugins(night)
	view.Plugins = []printer.PluginHealth{
		{Step: "drain", Plugin: "drain", Critical: true, Health: printer.Unknown},
		{Step: "storage", Plugin: "http", Critical: true, Health: printer.Broken, Error: "timeout", CheckedAt: ago(20 * time.Second), HealthyAt: ago(3 * time.Minute)},
		{Step: "tell", Plugin: "http", Health: printer.Healthy, CheckedAt: ago(20 * time.Second), HealthyAt: ago(20 * time.Second)},
	}
	view.Notifications = []printer.NotificationHealth{
		{Notification: "ops", Plugin: "http", Health: printer.Broken, Error: "connection refused", CheckedAt: ago(20 * time.Second), HealthyAt: ago(5 * time.Minute)},
		{Notification: "log", Plugin: "logger", Health: printer.Unknown},
	}
	view.Blocked = []printer.Blocker{{What: "shop/cart-0", Reason: "needs 1 healthy, has 1", Remedy: "scale to 2"}}
	view.Notes = []string{"you are not allowed to evict pods"}
	return view
}

// lackingRights lacks them although no role is missing.
func lackingRights() printer.View {
	view := printer.NewPlugins(night)
	view.Plugins = []printer.PluginHealth{{Step: "drain", Plugin: "drain", Critical: true, Health: printer.Broken, Error: "the agent lacks rights: delete pods", CheckedAt: ago(20 * time.Second)}}
	view.Remedy, view.Manifest = "kubectl nodecleanup install --wait", "kind: ClusterRole\nmetadata: {name: more}"
	return view
}

func lackingARole() printer.View {
	view := printer.NewPlugins(night)
	view.Plugins = []printer.PluginHealth{{Step: "drain", Plugin: "drain", Critical: true, Health: printer.Broken, Error: "the agent lacks rights: list pods", CheckedAt: ago(20 * time.Second)}}
	view.Lacks, view.Remedy = "the agent lacks rights: ClusterRole nodecleanup-agent-steps does not exist", "kubectl nodecleanup install --wait"
	return view
}

func preflightOfOneLeftOut() printer.View {
	view := printer.NewPlugins(night)
	view.Asked, view.Unprotected = true, "the config's nodeSelector does not select this node"
	return view
}

func catalog() printer.View {
	view := printer.NewCatalog()
	view.Plugins = []printer.CatalogPlugin{
		{Name: "drain", Summary: "cordons the node and evicts its pods", Critical: true, TimeoutSeconds: 1800, Steps: []string{"drain"}},
		{Name: "http", Summary: "sends a document", TimeoutSeconds: 300},
	}
	return view
}

func plugin() printer.View {
	view := printer.NewPlugin("http")
	view.Summary, view.Critical, view.TimeoutSeconds, view.Abilities = "sends a document", true, 30, []string{"health check", "preview"}
	view.Options = []schema.Option{
		{Name: "url", Type: "string or secretKeyRef", Required: true, Description: "An http or https URL, as a template, or in a Secret. The values of references are percent-encoded."},
		{Name: "rules[].action", Type: "evict | skip | waitCompleted | last | rolloutRestart | something", Default: "evict"},
		{Name: "colour"},
	}
	view.Example = "- name: http\n  plugin: http\n  options:\n    url: http://a\n"
	view.Rules = []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods", "nodes"}, Verbs: []string{"get", "list"}}, {APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"patch"}}}
	view.OptionalRules = []rbacv1.PolicyRule{{APIGroups: []string{"policy"}, Resources: []string{"poddisruptionbudgets"}, Verbs: []string{"list", "watch"}}}
	return view
}

func checks() printer.View {
	view := printer.NewChecks(night)
	view.Checks = []printer.Check{
		{ID: "agent", Description: "the agent runs", Outcome: printer.Pass, Detail: "2 of 2 ready"},
		{ID: "version", Description: "CLI and agent fit", Outcome: printer.Warning, Detail: "v1 and v2", Hint: "kubectl nodecleanup upgrade"},
		{ID: "config", Description: "the config is valid", Outcome: printer.Error, Detail: "line 3", Hint: "kubectl edit"},
		{ID: "metrics", Description: "the metrics can be read", Outcome: printer.Skip, Detail: "forbidden"},
		{ID: "shadowed", Description: "there is one", Outcome: printer.Suppressed, Detail: "two", Hint: "remove one"},
	}
	return view
}

// Every view in every form that it has.
func TestViewsGolden(t *testing.T) {
	yes, no := true, false
	for name, view := range map[string]printer.View{
		"nodes": nodes(), "nodes-marked": nodesMarked(), "nodes-not-protected": nodesNotProtected(), "history": history(), "plan": plan(), "plan-unprotected": unprotected(), "plugins": plugins(), "plugins-unprotected": preflightOfOneLeftOut(), "plugins-lacking-rights": lackingRights(), "plugins-lacking-a-role": lackingARole(), "catalog": catalog(), "plugin": plugin(), "checks": checks(),
		"plans": printer.NewPlanList([]*printer.Plan{plan(), unhashed(), runnable()}), "version": &printer.Version{APIVersion: printer.APIVersion, Kind: "Version", CLI: "v1.2.3", Agent: "v1.2.2", Fits: &yes}, "version-no": &printer.Version{APIVersion: printer.APIVersion, Kind: "Version", CLI: "v1.2.3", Agent: "v1.3.0", Fits: &no},
	} {
		for _, form := range printer.Forms {
			t.Run(name+"/"+string(form), func(t *testing.T) {
				var out bytes.Buffer
				if err := printer.Print(&out, form, false, view); err != nil {
					t.Fatal(err)
				}
				printertest.Golden(t, name+"-"+string(form)+".txt", out.String())
			})
		}
	}
}

func TestUnknownFormatIsAnError(t *testing.T) {
	var out bytes.Buffer
	if err := printer.Print(&out, "xml", false, &printer.Version{}); err == nil || out.Len() > 0 {
		t.Errorf("printed %q, error %v", out.String(), err)
	}
}
