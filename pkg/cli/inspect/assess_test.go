package inspect

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer/printertest"
)

var night = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// working is the snapshot of a healthy install without nodes.
func working(t *testing.T) *Snapshot {
	return &Snapshot{
		Namespace: api.Namespace,
		Deployment: &appsv1.Deployment{
			Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2)}, Status: appsv1.DeploymentStatus{ReadyReplicas: 2},
		},
		Leadership: cluster.Leadership{HasLeader: true, Lease: &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("nodecleanup-agent-7c9f-x2"), LeaseDurationSeconds: ptr.To[int32](15),
			RenewTime: ptr.To(metav1.NewMicroTime(night.Add(-2 * time.Second))),
		}}},
		Status: &api.AgentStatus{Version: "v0.3.1"},
		Webhook: &admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{{
			Name: api.WebhookHook, FailurePolicy: ptr.To(admissionv1.Ignore),
			ClientConfig: admissionv1.WebhookClientConfig{CABundle: ca(t, night.Add(61*24*time.Hour))},
		}}},
		Guard: &admissionv1.ValidatingWebhookConfiguration{Webhooks: []admissionv1.ValidatingWebhook{{
			Name: api.GuardHook, FailurePolicy: ptr.To(admissionv1.Ignore),
			ClientConfig: admissionv1.WebhookClientConfig{CABundle: ca(t, night.Add(61*24*time.Hour))},
		}}},
		Total: 215, Protected: 212,
		Runs: map[types.UID]*api.Run{}, Unreadable: map[types.UID]error{},
	}
}

func ca(t *testing.T, end time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// leave adds a node that is being deleted.
func (s *Snapshot) leave(name string, age time.Duration, state api.State, message string, steps ...api.StepRun) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID(name), Finalizers: []string{api.Finalizer}, DeletionTimestamp: ptr.To(metav1.NewTime(night.Add(-age))),
	}}
	if state != "" {
		node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(state, message, metav1.NewTime(night))}
	}
	if steps != nil {
		s.Runs[node.UID] = &api.Run{Node: name, NodeUID: node.UID, State: state, Steps: steps}
	}
	s.Leaving = append(s.Leaving, node)
	return node
}

func TestStatusGolden(t *testing.T) {
	done := api.StepRun{Name: "drain", State: api.StepSucceeded}
	for name, test := range map[string]struct {
		change  func(*Snapshot)
		healthy bool
	}{
		"fine": {func(*Snapshot) {}, true},
		"cleaning": {func(s *Snapshot) {
			s.leave("ip-10-0-9", 41*time.Second, api.Running, "running", done, api.StepRun{Name: "volumes", State: api.StepRunning, Progress: "3 volumes left"}, api.StepRun{Name: "tell", State: api.StepPending})
			s.leave("ip-10-0-8", 5*time.Second, "", "")
			s.leave("ip-10-0-6", time.Hour, api.Succeeded, "done").Finalizers = []string{"wrangler.cattle.io/node"}
			s.leave("ip-10-0-4", time.Hour, "", "").Finalizers = []string{"wrangler.cattle.io/node"}
			s.leave("ip-10-0-5", time.Minute, api.Waiting, "next try in 40s", done, api.StepRun{Name: "volumes", State: api.StepRetrying})
		}, true},
		"blocked": {func(s *Snapshot) {
			s.leave("ip-10-0-3", time.Minute, api.Running, "running", api.StepRun{Name: "drain", State: api.StepRunning})
			s.leave("ip-10-0-7", 14*time.Minute, api.Blocked, "target i-0ab still draining", done, api.StepRun{Name: "deregister-lb", State: api.StepPending})
			s.leave("ip-10-0-9", time.Hour, api.Failed, "no tries left", done, api.StepRun{Name: "storage", Critical: true, State: api.StepFailed}, api.StepRun{Name: "tell", State: api.StepSkipped})
		}, false},
		"unreadable-record": {func(s *Snapshot) {
			node := s.leave("ip-10-0-7", 14*time.Minute, api.Running, "running")
			s.Unreadable[node.UID] = &api.RecordError{Record: "run-ip-10-0-7-ip-10-0-", Err: errors.New("unexpected end of JSON input")}
		}, false},
		"paused": {func(s *Snapshot) {
			s.Status.Pause = api.Pause{Paused: true, By: "alice", At: night.Add(-12 * time.Minute), Reason: "storage array down"}
			s.leave("ip-10-0-8", 5*time.Second, api.Pending, s.Status.Pause.String())
		}, false},
		"bypass-marked": {func(s *Snapshot) {
			s.Status.Pause = api.Pause{Paused: true, By: "alice", At: night.Add(-12 * time.Minute)}
			s.mark("ip-10-0-8", api.AnnotationBypassUntil, night.Add(time.Hour).Format(time.RFC3339), api.AnnotationBypassBy, "alice", api.AnnotationBypassReason, "rebuild of rack 7")
			s.mark("ip-10-0-7")
			s.mark("expired", api.AnnotationBypassUntil, night.Format(time.RFC3339))
			s.mark("invalid", api.AnnotationBypassUntil, "tomorrow")
		}, false},
		"bypass-marked-on-many": {func(s *Snapshot) {
			for i := range 5 {
				s.mark(fmt.Sprintf("ip-10-0-%d", i))
			}
		}, true},
		"brake": {func(s *Snapshot) {
			s.Status.Brake = api.Brake{Since: ptr.To(metav1.NewTime(night.Add(-12 * time.Minute))), Reason: "41 of 200 protected nodes are terminating (limit 20%)"}
		}, false},
		"resumed-although-the-brake-is-engaged": {func(s *Snapshot) {
			s.Status.Brake = api.Brake{Since: ptr.To(metav1.NewTime(night.Add(-12 * time.Minute))), Reason: "41 of 200 protected nodes are terminating (limit 20%)"}
			s.Status.Pause = api.Pause{By: "alice", At: night.Add(-time.Minute)}
		}, true},
		"plugin-failed": {func(s *Snapshot) {
			ago := func(age time.Duration) *metav1.Time { return ptr.To(metav1.NewTime(night.Add(-age))) }
			s.Status.Plugins = []api.PluginHealth{{Step: "tell", Plugin: "http", Critical: true, Checks: true, Error: "connection refused", CheckedAt: ago(20 * time.Second), HealthyAt: ago(80 * time.Second)}}
			s.Status.Notifications = []api.NotificationHealth{{Notification: "ops", Plugin: "http", Checks: true, Error: "connection refused", CheckedAt: ago(10 * time.Second)}}
		}, false},
		"outside-the-windows": {func(s *Snapshot) {
			s.Status.Brake = api.Brake{WindowOpensAt: ptr.To(metav1.NewTime(night.Add(2 * time.Hour)))}
		}, true},
		"one-of-two": {func(s *Snapshot) { s.Deployment.Status.ReadyReplicas = 1 }, true},
		"scaled-to-0": {func(s *Snapshot) {
			s.Deployment.Spec.Replicas, s.Deployment.Status.ReadyReplicas, s.Leadership = ptr.To[int32](0), 0, cluster.Leadership{}
		}, false},
		"no-pods": {func(s *Snapshot) { s.Deployment.Status.ReadyReplicas = 0 }, false},
		"config-deleted": {func(s *Snapshot) {
			s.Status.ConfigHash = "a1b2c3"
			s.Status.ConfigError = "configmap nodecleanup-system/nodecleanup-config was deleted: an agent cannot start without a config. Next: restore it: " + api.RestoreConfig
			s.Status.AcceptedConfig = "steps: []"
		}, false},
		"config-deleted-not-published": {func(s *Snapshot) {
			s.Status.ConfigHash = "a1b2c3"
			s.Status.ConfigError = "configmap nodecleanup-system/nodecleanup-config was deleted: an agent cannot start without a config. Next: restore it: kubectl nodecleanup install --config FILE"
		}, false},
		"config-refused": {func(s *Snapshot) {
			s.Status.ConfigHash = "a1b2c3"
			s.Status.ConfigError = "line 3: unknown field \"dryrun\"\nline 5: steps[0].plugin: unknown plugin \"drian\""
		}, false},
		"dry-run": {func(s *Snapshot) { s.Status.DryRun = true }, true},
		"no-leader": {func(s *Snapshot) {
			s.Leadership.HasLeader, s.Leadership.Lease.Spec.RenewTime = false, ptr.To(metav1.NewMicroTime(night.Add(-10*time.Minute)))
		}, false},
		"service-without-pods": {func(s *Snapshot) {
			s.Unreached = &Unreached{"Service nodecleanup-agent selects no pod of the agent (selector app=other)", "kubectl nodecleanup install --force-conflicts --wait"}
		}, false},
		"service-without-pods-policy": {func(s *Snapshot) {
			s.Policy, s.Unreached = &admissionv1.MutatingAdmissionPolicy{}, &Unreached{"Service nodecleanup-agent does not exist", "kubectl nodecleanup install --wait"}
		}, false},
		"crash-on-the-config": {func(s *Snapshot) {
			s.Deployment.Status.ReadyReplicas, s.Leadership = 0, cluster.Leadership{}
			s.Stall = &cluster.Stall{Text: "pod agent-1: CrashLoopBackOff: exit code 1: line 5: unknown plugin \"drian\"", Pod: "agent-1", Crashed: true}
			s.ConfigFault = "line 5: unknown plugin \"drian\""
		}, false},
		"requested-without-an-agent": {func(s *Snapshot) {
			s.Leadership = cluster.Leadership{}
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "ip-10-0-7", Finalizers: []string{api.Finalizer}, Annotations: map[string]string{
				api.AnnotationCleanupRequestedAt: night.Add(-time.Minute).Format(time.RFC3339Nano),
			}}}
			if s.count(Trim(node)) {
				s.Leaving = append(s.Leaving, Trim(node))
			}
		}, false},
		"no-rights": {func(s *Snapshot) {
			s.MissingGrants = []string{"ClusterRoleBinding nodecleanup-agent does not exist"}
			s.leave("ip-10-0-7", 20*time.Second, "", "")
		}, false},
		"no-rights-in-the-namespace": {func(s *Snapshot) {
			s.MissingGrants = []string{"RoleBinding nodecleanup-system/nodecleanup-agent does not exist"}
		}, false},
		"no-rights-of-the-steps": {func(s *Snapshot) {
			s.MissingGrants = []string{"ClusterRole nodecleanup-agent-steps does not exist"}
			rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}}
			checked := ptr.To(metav1.NewTime(night.Add(-20 * time.Second)))
			s.Status.Plugins = []api.PluginHealth{
				{Step: "drain", Plugin: "drain", Critical: true, MissingRules: rules, CheckedAt: checked},
				{Step: "volumes", Plugin: "volumes", Critical: true, Checks: true, MissingRules: rules, CheckedAt: checked, Error: "the agent lacks rights: list volumeattachments.storage.k8s.io"},
				{Step: "tell", Plugin: "http", Critical: true, Checks: true, MissingRules: rules, CheckedAt: checked, Error: "connection refused"},
			}
		}, false},
		"steps-healthy-again": {func(s *Snapshot) {
			node := s.leave("ip-10-0-7", 40*time.Second, api.Blocked, api.NotStarted+"step tell (http): connection refused")
			s.Runs[node.UID] = &api.Run{State: api.Blocked, Message: api.NotStarted + "step tell (http): connection refused", CheckAgainAt: ptr.To(metav1.NewMicroTime(night.Add(20 * time.Second)))}
			s.Status.Plugins = []api.PluginHealth{{Step: "tell", Plugin: "http", Critical: true, Checks: true, CheckedAt: ptr.To(metav1.NewTime(night.Add(-2 * time.Second)))}}
		}, true},
		"rights-of-an-option": {func(s *Snapshot) {
			s.Status.Plugins = []api.PluginHealth{{
				Step: "volumes", Plugin: "volumes", Critical: true, Checks: true, Error: "the agent lacks rights: list pods", CheckedAt: ptr.To(metav1.NewTime(night.Add(-20 * time.Second))),
				MissingRules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "get"}}},
			}}
		}, false},
		"unattended": {func(s *Snapshot) {
			s.leave("ip-10-0-7", 199*time.Second, "", "")
			s.leave("ip-10-0-8", 20*time.Second, "", "")
			s.leave("ip-10-0-9", time.Hour, api.Waiting, "next try in 40s")
		}, false},
		"waiting-for-a-slot": {func(s *Snapshot) {
			s.leave("ip-10-0-7", 110*time.Second, "", "")
			s.leave("ip-10-0-9", time.Hour, api.Running, "running")
		}, true},
		"no-lease":    {func(s *Snapshot) { s.Leadership = cluster.Leadership{} }, false},
		"no-webhook":  {func(s *Snapshot) { s.Webhook = nil }, false},
		"no-ca":       {func(s *Snapshot) { s.Webhook.Webhooks[0].ClientConfig.CABundle = nil }, false},
		"ca-is-no-ca": {func(s *Snapshot) { s.Webhook.Webhooks[0].ClientConfig.CABundle = []byte("?") }, false},
		"ca-expired":  {func(s *Snapshot) { s.Webhook.Webhooks[0].ClientConfig.CABundle = ca(t, night.Add(-time.Hour)) }, false},
		"ca-rotation": {func(s *Snapshot) {
			s.Webhook.Webhooks[0].ClientConfig.CABundle = append(ca(t, night.Add(-time.Hour)), ca(t, night.Add(48*time.Hour))...)
		}, true},
		"no-guard":         {func(s *Snapshot) { s.Guard = nil }, false},
		"guard-without-ca": {func(s *Snapshot) { s.Guard.Webhooks[0].ClientConfig.CABundle = nil }, false},
		"guard-hidden":     {func(s *Snapshot) { s.Guard, s.GuardHidden = nil, true }, true},
		"outside":          {func(s *Snapshot) { s.Deployment = nil }, true},
		"outside-stopped":  {func(s *Snapshot) { outsideAgent(s); s.Leadership = cluster.Leadership{} }, false},
		"nothing":          {func(s *Snapshot) { *s = Snapshot{Namespace: api.Namespace, Total: 3} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := working(t)
			test.change(s)
			view := Assess(s, "v0.3.1", night)
			if view.Healthy != test.healthy {
				t.Errorf("healthy is %v, want %v", view.Healthy, test.healthy)
			}
			if !view.Healthy && view.Next == "" {
				t.Error("it does not say what to do next")
			}
			var out bytes.Buffer
			if err := printer.Print(&out, printer.Table, false, view); err != nil {
				t.Fatal(err)
			}
			printertest.Golden(t, name+".txt", out.String())
		})
	}
}

// mark adds a live node with a bypass, and with more annotations in pairs.
func (s *Snapshot) mark(name string, pairs ...string) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{api.Finalizer}, Annotations: map[string]string{api.AnnotationBypass: "true"}}}
	for i := 0; i < len(pairs); i += 2 {
		node.Annotations[pairs[i]] = pairs[i+1]
	}
	s.count(node)
}

func outsideAgent(s *Snapshot) {
	s.Deployment = nil
	s.Webhook.Webhooks[0].ClientConfig.URL = ptr.To("https://127.0.0.1:9443/mutate-node")
}

func TestStatusInJSONAndYAML(t *testing.T) {
	s := working(t)
	s.leave("ip-10-0-7", 14*time.Minute, api.Failed, "no tries left", api.StepRun{Name: "drain", Critical: true, State: api.StepFailed})
	for format, name := range map[printer.Format]string{printer.JSON: "status.json", printer.YAML: "status.yaml"} {
		var out bytes.Buffer
		if err := printer.Print(&out, format, true, Assess(s, "v0.3.1", night)); err != nil {
			t.Fatal(err)
		}
		printertest.Golden(t, name, out.String())
	}
}

func TestStatusInColour(t *testing.T) {
	s := working(t)
	s.Webhook = nil
	var out bytes.Buffer
	if err := printer.Print(&out, printer.Table, true, Assess(s, "v0.3.1", night)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\x1b[32mok\x1b[0m", "\x1b[31mMISSING\x1b[0m"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("missing %q in %q", want, out.String())
		}
	}
}

// With the policy inside the API server, new nodes are protected whatever becomes
// of the webhook.
func TestAdmissionIsHealthyWithThePolicyAlone(t *testing.T) {
	webhook := working(t).Webhook
	broken := webhook.DeepCopy()
	broken.Webhooks[0].ClientConfig.CABundle = nil
	policy := &admissionv1.MutatingAdmissionPolicy{}
	for name, test := range map[string]struct {
		webhook *admissionv1.MutatingWebhookConfiguration
		policy  *admissionv1.MutatingAdmissionPolicy
		health  printer.Health
		ways    []string
	}{
		"both":                       {webhook, policy, printer.Healthy, []string{"policy", "webhook"}},
		"webhook alone":              {webhook, nil, printer.Healthy, []string{"webhook"}},
		"policy alone":               {nil, policy, printer.Healthy, []string{"policy"}},
		"neither":                    {nil, nil, printer.Missing, nil},
		"broken webhook":             {broken, nil, printer.Broken, []string{"webhook"}},
		"broken webhook, but policy": {broken, policy, printer.Degraded, []string{"policy", "webhook"}},
	} {
		got := assessAdmission(test.webhook, test.policy, night)
		if got.Health != test.health || !slices.Equal(got.Ways, test.ways) {
			t.Errorf("%s: %+v", name, got)
		}
		if (got.Problem == "") != (test.health == printer.Healthy) {
			t.Errorf("%s: the problem is %q", name, got.Problem)
		}
	}
}

func TestImageRemedy(t *testing.T) {
	by := func(manager string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{Manager: manager, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{}":{"f:image":{}}}}}}}`)}}}
	}
	const released = "ghcr.io/nodecleanup/nodecleanup-agent:"
	for name, test := range map[string]struct {
		image, earlier string
		fields         []metav1.ManagedFieldsEntry
		want           string
	}{
		"kubectl set image":                {released + "v0.0.1", "v0", by("kubectl-set"), "kubectl nodecleanup install --force-conflicts --wait"},
		"another tag by install":           {released + "v0.0.1", "v0", by(api.FieldManager), "kubectl nodecleanup install --image " + released + "v0.0.0-dev --wait"},
		"a placeholder":                    {"IMAGE", "v0", by(api.FieldManager), "kubectl nodecleanup install --image " + released + "v0.0.0-dev --wait"},
		"an upgrade to a missing image":    {released + "v0.0.0-dev", "v0", by(api.FieldManager), "kubectl -n nodecleanup-system rollout undo deployment nodecleanup-agent"},
		"a mirror without the image":       {"registry.example.com/agent:v2", "v0", by(api.FieldManager), "kubectl -n nodecleanup-system rollout undo deployment nodecleanup-agent"},
		"a change of another field":        {released + "v0.0.0-dev", released + "v0.0.0-dev", by(api.FieldManager), "check the image, the registry and the pull secret: kubectl -n nodecleanup-system describe pod agent-1"},
		"a first install without an image": {released + "v0.0.0-dev", "", by(api.FieldManager), "check the image, the registry and the pull secret: kubectl -n nodecleanup-system describe pod agent-1"},
	} {
		s := working(t)
		s.Stall = &cluster.Stall{Pod: "agent-1", Image: true}
		s.Deployment.ManagedFields, s.earlierImage = test.fields, test.earlier
		s.Deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "agent", Image: test.image}}
		if got := Assess(s, "v0.3.1", night).Agent.Remedy; got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
