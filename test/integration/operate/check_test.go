package operate_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// checked runs the checks and returns each by its ID.
func (f *fixture) checked(code int, arguments ...string) map[string]printer.Check {
	f.Helper()
	var view printer.Checks
	f.run(append([]string{"check", "-o", "json"}, arguments...)...).exits(code).into(&view)
	if view.Kind != "CheckReport" || view.Passed != (code == exit.OK) {
		f.Errorf("the view is a %s, passed %v", view.Kind, view.Passed)
	}
	by := map[string]printer.Check{}
	for _, check := range view.Checks {
		by[check.ID] = check
	}
	return by
}

func (f *fixture) wantOutcomes(checks map[string]printer.Check, want map[string]printer.Outcome) {
	f.Helper()
	for id, outcome := range want {
		if checks[id].Outcome != outcome {
			f.Errorf("check %s: %+v, want %s", id, checks[id], outcome)
		}
	}
}

func TestCheckFindsEachFaultOfAnInstall(t *testing.T) {
	inventory := httptest.NewServer(http.NotFoundHandler())
	defer inventory.Close()
	f := setUp(t, "steps: [{name: tell, plugin: http, options: {url: {secretKeyRef: {name: inventory, key: url}}}}]\n"+
		"notifications: [{name: ops, plugin: http, options: {url: {secretKeyRef: {name: inventory, key: url}}}}]\n")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "inventory"}, StringData: map[string]string{"url": inventory.URL}}
	if _, err := f.client.CoreV1().Secrets(f.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stop := f.start()
	f.node("worker", nil)
	f.wantOutcomes(f.checked(exit.OK, "--suppress", "shadowed"), map[string]printer.Outcome{
		"server-version": printer.Pass, "install-rights": printer.Pass, "leader": printer.Pass, "version": printer.Pass,
		"agent-rights": printer.Pass, "config": printer.Pass, "secrets": printer.Pass, "certificate": printer.Pass, "admission": printer.Pass, "guard": printer.Pass,
		"plugins": printer.Pass, "nodes": printer.Pass, "cleanups": printer.Pass, "operate-rights": printer.Pass,
		// In this test it runs outside the cluster.
		"agent": printer.Warning, "metrics": printer.Skip, "shadowed": printer.Suppressed,
	})
	f.wantsNoWrites("check")
	f.wantsNoWrites("plugins", "status")
	f.checked(exit.Unhealthy, "--fail-on", "warning")

	inventory.Close()
	f.run("preflight").exits(exit.Unhealthy).says("tell", "FAILED", "connecting to the URL in secret inventory/url: connection refused", "NOTIFICATION", "ops")
	if got := f.checked(exit.Unhealthy)["plugins"]; got.Hint != "start the service that step tell calls, or change its address: kubectl -n "+f.namespace+" edit secret inventory" {
		t.Errorf("check plugins: %+v", got)
	}
	f.run("plugins", "test", "tell").exits(exit.Unhealthy).says("connection refused")

	if err := f.client.CoreV1().Secrets(f.namespace).Delete(t.Context(), "inventory", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.run("preflight").exits(exit.Unhealthy).says("tell", "FAILED", `secrets "inventory" not found`)
	f.run("preflight", "worker").exits(exit.Unhealthy).says("step tell", "inventory is missing")
	f.run("plugins", "test", "tell").exits(exit.Unhealthy).says("inventory")
	f.run("plugins", "test", "nothing").exits(exit.Failure).says("no step or notification with this name", "plugins status")
	f.run("plugins", "status", "-o", "short").exits(exit.Unhealthy).says("tell (http)", "0 of 1")
	f.run("status").exits(exit.Unhealthy).says("Plugins", "1 of 1", "kubectl nodecleanup check")
	f.wantOutcomes(f.checked(exit.Unhealthy), map[string]printer.Outcome{"secrets": printer.Error, "plugins": printer.Error})

	f.edit("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: drain, plugin: drian}]\n")
	f.wantOutcomes(f.checked(exit.Unhealthy), map[string]printer.Outcome{"config": printer.Error, "secrets": printer.Skip})
	f.run("plugins", "list").exits(exit.OK).says("drain", "Cannot read which steps use these plugins")
	f.eventually("the agent refuses the config", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("status").out, "rejected, config "), nil
	})
	f.run("preflight").exits(exit.Unhealthy).says("Note: these are the plugins of the last valid config, ")

	stop()
	f.wantOutcomes(f.checked(exit.Unhealthy), map[string]printer.Outcome{"leader": printer.Error})
	f.run("preflight").exits(exit.Failure).says("no agent in namespace", "so no agent would answer: no leader", "Repair the agent: start the agent that runs outside the cluster again", "plugins status")
	f.run("plugins", "status").exits(exit.Unhealthy).says("these results are from the previous leader, because no agent", "Next: start the agent that runs outside the cluster again", "Note: these are the plugins of the last valid config, ")
}

func TestCheckAnInstallWithoutAWebhookByChoice(t *testing.T) {
	f := setUpBy(t, install.AdmissionPolicy, "steps: [{name: log, plugin: logger}]\n")
	f.start()
	f.eventually("the agent has published its CA in the delete guard", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("check").out, "delete guard: valid"), nil
	})
	f.node("worker", nil)
	checks := f.checked(exit.OK)
	f.wantOutcomes(checks, map[string]printer.Outcome{"certificate": printer.Pass, "guard": printer.Pass, "admission": printer.Pass})
	if detail := checks["certificate"].Detail; !strings.Contains(detail, "no webhook for new nodes (--admission=policy)") {
		t.Errorf("the certificate: %q", detail)
	}
}

// The status of the last leader does not describe the present.
func TestCheckIgnoresTheStatusOfADeadAgent(t *testing.T) {
	f := setUp(t, "steps: [{name: log, plugin: logger}]\n")
	stop := f.start()
	f.eventually("the agent has said how its plugins are", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("check").out, "✓ plugins"), nil
	})
	stop()
	checks := f.checked(exit.Unhealthy)
	f.wantOutcomes(checks, map[string]printer.Outcome{"leader": printer.Error, "guard": printer.Error, "plugins": printer.Skip, "config": printer.Skip, "certificate": printer.Pass})
	for _, id := range []string{"plugins", "config"} {
		if !strings.Contains(checks[id].Detail, "as of the last leader, ") {
			t.Errorf("%s: %q", id, checks[id].Detail)
		}
	}
}

func TestPreflightOfABlockedPlan(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.start()
	f.node("worker", nil)
	f.run("preflight", "worker").exits(exit.OK).says("drain")
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	f.run("preflight", "worker").exits(exit.Blocked).says("Blocked:", "default/cart-0")
	f.run("plugins", "list").exits(exit.OK).says("cordons the node")
	f.run("plugins", "list", "-o", "name").exits(exit.OK).says("plugin/http\n")
}

// A linter that knows no verb bypass, or a pipeline that applies an older role.
func TestCheckAndDiagnoseFindARemovedRight(t *testing.T) {
	f := setUp(t, "steps: [{name: log, plugin: logger}]\n")
	f.start()
	roles := f.client.RbacV1().ClusterRoles()
	role, err := roles.Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.Cleanup(func() {
		if err := roles.Delete(contextOf(t), api.Agent, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	for i := range role.Rules {
		role.Rules[i].Verbs = slices.DeleteFunc(role.Rules[i].Verbs, func(verb string) bool { return verb == "bypass" })
	}
	if _, err := roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the API server's authorizer has heard of it", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("check").out, "the agent lacks rights: bypass nodes"), nil
	})
	f.wantOutcomes(f.checked(exit.Unhealthy), map[string]printer.Outcome{"agent-rights": printer.Error})
	f.node("worker", nil)
	f.delete("worker")
	f.awaitState("worker", api.Blocked)
	f.run("diagnose", "worker").says("bypass nodes")
}

func TestCheckWithFewRights(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.start()
	reader := f.userWith("reader", rule("", "nodes", "get", "list"), rule("", "configmaps", "get", "list", "watch"),
		rule("apps", "deployments", "get"), rule("coordination.k8s.io", "leases", "get"), rule("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "get"))
	f.runAs(reader, "check", "-n", f.namespace).exits(exit.OK).says("- agent-rights: rights of the agent · you lack: create subjectaccessreviews.authorization.k8s.io\n", "! install-rights", "- admission", "you lack: create nodes", "✓ config", "fix:")
	f.runAs(reader, "status", "-n", f.namespace).exits(exit.OK)
	f.runAs(reader, "plugins", "test", "drain", "-n", f.namespace).exits(exit.Failure).says("cannot patch", "plugins status")
	f.runAs(reader, "preflight", "-n", f.namespace).exits(exit.Failure).says("cannot patch", "ask a cluster administrator")
	nobody := f.userWith("nobody")
	f.runAs(nobody, "check", "--pre", "-n", f.namespace).exits(exit.OK).says("! install-rights", "you lack: create namespaces")
	f.runAs(nobody, "check", "-n", f.namespace).exits(exit.Failure).says("- agent", "checking the install: every check was skipped: you lack: ", "nodecleanup-viewer")
	f.runAs(nobody, "plugins", "status", "-n", f.namespace).exits(exit.Failure).says("reading the agent's status", "ask a cluster administrator")
}

func TestCheckBeforeAnInstall(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	if err := f.client.CoreV1().ConfigMaps(f.namespace).Delete(t.Context(), api.ConfigName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	before := f.checked(exit.OK, "--pre")
	if len(before) != 4 {
		t.Errorf("checks before an install: %v", before)
	}
	f.wantOutcomes(f.checked(exit.Unhealthy), map[string]printer.Outcome{"leader": printer.Error, "config": printer.Error, "plugins": printer.Skip, "version": printer.Skip})
	f.run("check", "--list", "-o", "name").exits(exit.OK).says("check/admission\n", "check/shadowed\n")
	f.run("check", "--suppress", "nothing").exits(exit.Usage).says("unknown check", "--list")
	f.run("plugins", "status").exits(exit.Failure).says("no agent has led there yet")
}
