package check

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	builtin "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

var night = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// newSubject returns an installation with a leader and both webhooks.
func newSubject(change func(*printer.Status)) *subject {
	status := printer.NewStatus(night)
	in := func(length time.Duration) *metav1.Time { return &metav1.Time{Time: night.Add(length)} }
	status.Agent = printer.Agent{Health: printer.Healthy, Ready: 2, Replicas: 2, HasLeader: true, RenewedAt: in(-2 * time.Second)}
	status.Admission = printer.Admission{Health: printer.Healthy, Ways: []string{"policy", "webhook"}, CAExpiresAt: in(48 * 24 * time.Hour)}
	status.Guard = printer.DeleteGuard{Health: printer.Healthy, FailurePolicy: "Ignore", CAExpiresAt: in(48 * 24 * time.Hour)}
	status.Plugins = []printer.PluginHealth{{Step: "drain", Plugin: "drain", Critical: true}, {Step: "tell", Plugin: "http"}}
	change(status)
	return &subject{client: fake.NewClientset(), namespace: "ns", now: func() time.Time { return night }, status: status, snapshot: &inspect.Snapshot{}}
}

// withoutLeader makes the leader of an installation unavailable.
func withoutLeader(status *printer.Status) {
	status.Guard.Health, status.Guard.NoAnswer = printer.Broken, "no agent answers, so deletions are not guarded"
	status.Agent.Health, status.Agent.HasLeader, status.Agent.Ready = printer.Broken, false, 0
	status.Agent.RenewedAt = &metav1.Time{Time: night.Add(-20 * time.Minute)}
}

func powerless(status *printer.Status) {
	status.Agent.Health, status.Agent.MissingGrants = printer.Broken, []string{"ClusterRoleBinding nodecleanup-agent does not exist"}
	status.Agent.Problem = "the agent lacks rights: " + status.Agent.MissingGrants[0]
	status.Guard.Health, status.Guard.NoAnswer = printer.Broken, inspect.Blind
}

func bind(t *testing.T, check func(context.Context, *subject) result) func(*subject) result {
	return func(s *subject) result { return check(t.Context(), s) }
}

func TestChecksOfTheAgentState(t *testing.T) {
	policyAlone := func(s *printer.Status) {
		s.Admission = printer.Admission{Health: printer.Healthy, Ways: []string{"policy"}}
	}
	for name, test := range map[string]struct {
		check   func(*subject) result
		change  func(*printer.Status)
		outcome printer.Outcome
		says    string
	}{
		"certificate":                {bind(t, certificate), func(*printer.Status) {}, printer.Pass, "valid 48d"},
		"certificate, by the policy": {bind(t, certificate), policyAlone, printer.Pass, "no webhook for new nodes (--admission=policy); delete guard: valid 48d"},
		"certificate, by the policy, without a guard": {bind(t, certificate), func(s *printer.Status) {
			policyAlone(s)
			s.Guard = printer.DeleteGuard{Health: printer.Unknown}
		}, printer.Pass, "no webhook for new nodes (--admission=policy)"},
		"certificate, by the policy, guard without CA": {bind(t, certificate), func(s *printer.Status) {
			policyAlone(s)
			s.Guard = printer.DeleteGuard{Health: printer.Broken, Problem: "the CA expired 2d ago"}
		}, printer.Error, "delete guard: the CA expired"},
		"certificate, the guard's ends first": {bind(t, certificate), func(s *printer.Status) {
			s.Guard.CAExpiresAt = &metav1.Time{Time: night.Add(time.Hour)}
		}, printer.Warning, "expires in 60m"},
		"guard":                     {bind(t, guard), func(*printer.Status) {}, printer.Skip, "there is no node to test with a dry-run deletion"},
		"guard, agent down":         {bind(t, guard), withoutLeader, printer.Error, "no agent answers, so deletions are not guarded (failurePolicy Ignore)"},
		"guard, agent outside":      {bind(t, guard), func(s *printer.Status) { s.Agent.Outside, s.Agent.Ready = true, 0 }, printer.Skip, "there is no node"},
		"plugins":                   {bind(t, plugins), func(*printer.Status) {}, printer.Pass, "2 steps"},
		"plugins, no leader":        {bind(t, plugins), withoutLeader, printer.Skip, "as of the last leader, 20m ago: 2 steps"},
		"plugins, none is reported": {bind(t, plugins), func(s *printer.Status) { s.Plugins = nil }, printer.Skip, "no agent"},
		"plugins, one not needed": {bind(t, plugins), func(s *printer.Status) {
			s.Plugins[1].Error, s.Plugins[1].CheckedAt = "timeout", &metav1.Time{Time: night.Add(-50 * time.Second)}
		}, printer.Warning, "step tell (http): timeout, checked 50s ago"},
		"plugins, two with one problem": {bind(t, plugins), func(s *printer.Status) {
			s.Plugins = append(s.Plugins, printer.PluginHealth{Step: "note", Plugin: "http", Error: "timeout"})
			s.Plugins[0].Error, s.Plugins[1].Error = "timeout", "refused"
		}, printer.Error, "step drain (drain), step note (http): timeout; step tell (http): refused"},
		"plugins, the worst first": {bind(t, plugins), func(s *printer.Status) {
			s.Plugins = append([]printer.PluginHealth{{Step: "note", Plugin: "http", Error: "timeout"}}, s.Plugins...)
			s.Plugins[1].Error = "forbidden"
		}, printer.Error, "step drain (drain): forbidden; step note (http): timeout"},
		"guard, Service without pods": {bind(t, guard), func(s *printer.Status) {
			s.Guard.Health, s.Guard.NoAnswer, s.Guard.Remedy = printer.Broken, "no agent answers, so deletions are not guarded: Service nodecleanup-agent does not exist", "kubectl nodecleanup install --wait"
		}, printer.Error, "Service nodecleanup-agent does not exist (failurePolicy Ignore)"},
		"certificate, no agent answers": {bind(t, certificate), func(s *printer.Status) {
			s.Guard.Health, s.Guard.NoAnswer = printer.Broken, "no agent answers"
		}, printer.Pass, "valid 48d"},
		"metrics, no rights": {bind(t, metrics), powerless, printer.Skip, "there is no running pod of the agent"},
		"metrics, no agent":  {bind(t, metrics), func(s *printer.Status) { s.Agent = printer.Agent{Health: printer.Missing} }, printer.Skip, "no agent runs in the cluster"},
		"metrics, not ready": {bind(t, metrics), withoutLeader, printer.Skip, "no pod of the agent is ready"},
		"certificate, by the policy, no rights": {bind(t, certificate), func(s *printer.Status) {
			policyAlone(s)
			powerless(s)
		}, printer.Pass, "valid 48d"},
		"guard, no rights": {bind(t, guard), powerless, printer.Error, "denies only the deletion of nodes with the annotation nodecleanup.io/protect, and what guard.controlPlane refuses (with guard.onReadError: refuse, it denies every deletion) (failurePolicy Ignore)"},
		"guard, no rights in the namespace": {bind(t, guard), func(s *printer.Status) {
			s.Guard.Health, s.Guard.Problem = printer.Degraded, "the agent lacks rights for configmap nodecleanup-guard"
		}, printer.Warning, "the agent lacks rights for configmap nodecleanup-guard"},
		"plugins, no rights": {bind(t, plugins), powerless, printer.Skip, "ClusterRoleBinding nodecleanup-agent does not exist, so plugins are not checked"},
		"cleanups, no rights": {bind(t, cleanups), func(s *printer.Status) {
			powerless(s)
			s.Cleanups = []printer.CleanupRow{{Node: "worker", State: "Pending"}}
		}, printer.Warning, "1 not done, and no agent runs them"},
		"cleanups, no agent, one was blocked": {bind(t, cleanups), func(s *printer.Status) {
			withoutLeader(s)
			s.Agent.Problem, s.Cleanups = "scaled to 0 replicas", []printer.CleanupRow{{Node: "worker", State: "Running", Stuck: true}}
		}, printer.Warning, "1 not done, and no agent runs them: scaled to 0 replicas"},
		"cleanups, the steps lack rights": {bind(t, cleanups), func(s *printer.Status) {
			s.Agent.Health, s.Agent.MissingGrants, s.Agent.Problem = printer.Broken, []string{"ClusterRole nodecleanup-agent-steps does not exist"}, "the agent lacks rights"
			s.Cleanups = []printer.CleanupRow{{Node: "worker", State: "Pending"}}
		}, printer.Warning, "1 not done: the agent lacks rights"},
		"plugins, stale status": {bind(t, plugins), func(s *printer.Status) { withoutLeader(s); s.Plugins[0].Error = "forbidden" }, printer.Error, "as of the last leader, 20m ago: step drain"},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.check(newSubject(test.change))
			if got.outcome != test.outcome || !strings.Contains(got.detail, test.says) {
				t.Errorf("got %s %q, want %s %q", got.outcome, got.detail, test.outcome, test.says)
			}
		})
	}
}

// Each unhealthy plugin has the repair of its fault.
func TestRepairOfAPlugin(t *testing.T) {
	const settings = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: tell, plugin: http, options: {url: {secretKeyRef: {name: inventory, key: url}}}}]\n"
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.ConfigName}, Data: map[string]string{api.ConfigKey: settings}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "inventory"}, Data: map[string][]byte{"url": []byte("https://x")}}
	for name, test := range map[string]struct {
		objects []runtime.Object
		problem string
		want    string
	}{
		"rights":  {[]runtime.Object{configMap}, "the agent lacks rights: list pods", "kubectl nodecleanup install --wait"},
		"secret":  {[]runtime.Object{configMap}, `secrets "inventory" not found`, "kubectl -n ns create secret generic inventory --from-literal=url=VALUE"},
		"service": {[]runtime.Object{configMap, secret}, "connection refused", "start the service that step tell calls, or change its address: kubectl -n ns edit secret inventory"},
		"unknown": {nil, "connection refused", "kubectl nodecleanup plugins test tell"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubject(func(status *printer.Status) {
				status.Plugins = []printer.PluginHealth{{Step: "tell", Plugin: "http", Critical: true, Error: test.problem}}
			})
			s.client, s.catalog = fake.NewClientset(test.objects...), builtin.Catalog(builtin.Dependencies{})
			if got := plugins(t.Context(), s); got.outcome != printer.Error || got.hint != test.want {
				t.Errorf("got %+v, want the hint %q", got, test.want)
			}
		})
	}
}
