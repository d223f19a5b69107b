package check

import (
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	builtin "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func TestNotInstalled(t *testing.T) {
	webhook := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: api.WebhookName}}
	for name, test := range map[string]struct {
		objects []runtime.Object
		want    bool
		says    string
	}{
		"nothing":                {nil, true, "nodecleanup is not installed in namespace ns"},
		"without its Deployment": {[]runtime.Object{webhook}, false, "no deployment nodecleanup-agent in namespace ns"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &subject{client: fake.NewClientset(test.objects...), namespace: "ns", now: func() time.Time { return night }}
			if got := s.notInstalled(t.Context()); got != test.want {
				t.Errorf("not installed: %v", got)
			}
			if got := agent(t.Context(), s); got.outcome != printer.Error || got.detail != test.says || !strings.HasPrefix(got.hint, "kubectl nodecleanup install --wait") {
				t.Errorf("the check says %+v", got)
			}
		})
	}
}

// The advice for an agent outside the cluster never puts a Deployment in its place.
func TestAgentOutsideTheClusterIsKept(t *testing.T) {
	outside := func(status *printer.Status) {
		status.Agent.Outside, status.Agent.URL, status.Agent.Ready = true, "https://127.0.0.1:9443", 0
		status.Agent.Version = "v9.0.0"
		status.Guard = printer.DeleteGuard{Health: printer.Missing, Problem: "no guard"}
		status.Admission = printer.Admission{Health: printer.Missing, Problem: "no webhook"}
	}
	for _, one := range checks {
		switch one.id {
		case "agent", "certificate", "guard", "version":
			got := one.run(t.Context(), newSubject(outside))
			if got.hint == "" || strings.Contains(got.hint, "upgrade") {
				t.Errorf("%s: %+v", one.id, got)
			}
			if strings.Contains(got.hint, " install") && !strings.Contains(got.hint, "--agent-url https://127.0.0.1:9443") && !strings.Contains(got.hint, "docs/install.md") {
				t.Errorf("%s: %+v", one.id, got)
			}
		}
	}
}

func TestImagePullErrorExplainsAMissingLeader(t *testing.T) {
	s := newSubject(func(status *printer.Status) {
		withoutLeader(status)
		status.Agent.Problem, status.Agent.Remedy = "no leader; pod a: ErrImagePull: not found", "check the image"
	})
	if got := leader(t.Context(), s); got.outcome != printer.Error || got.detail != "no leader; pod a: ErrImagePull: not found" || got.hint != "check the image" {
		t.Errorf("the check says %+v", got)
	}
}

func TestUnseenIfEveryInstallCheckIsSkipped(t *testing.T) {
	skipped := printer.Check{ID: "config", Outcome: printer.Skip, Detail: "forbidden"}
	for name, test := range map[string]struct {
		checks []printer.Check
		want   string
	}{
		"install checks skipped": {[]printer.Check{{ID: "server-version", Outcome: printer.Pass}, skipped, {ID: "operate-rights", Outcome: printer.Warning}}, "forbidden"},
		"one install check ran":  {[]printer.Check{skipped, {ID: "agent", Outcome: printer.Error}}, ""},
	} {
		if got := unseen(test.checks); got != test.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestMissingSecret(t *testing.T) {
	settings := "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: tell, plugin: http, options: {url: {secretKeyRef: {name: inventory, key: url}}}}]\n"
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.ConfigName}, Data: map[string]string{api.ConfigKey: settings}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "inventory"}, Data: map[string][]byte{"url": []byte("https://x")}}
	catalog := builtin.Catalog(builtin.Dependencies{})
	detail, fix := MissingSecret(t.Context(), fake.NewClientset(configMap), "ns", catalog)
	if detail != "secret ns/inventory of step tell is missing" || fix != "kubectl -n ns create secret generic inventory --from-literal=url=VALUE" {
		t.Errorf("got %q, %q", detail, fix)
	}
	other := secret.DeepCopy()
	other.Data = map[string][]byte{"uri": []byte("https://x")}
	detail, fix = MissingSecret(t.Context(), fake.NewClientset(configMap, other), "ns", catalog)
	if detail != "secret ns/inventory of step tell has no value for key url" || fix != `kubectl -n ns patch secret inventory --type=merge -p '{"stringData":{"url":"VALUE"}}'` {
		t.Errorf("without the key: %q, %q", detail, fix)
	}
	if detail, fix := MissingSecret(t.Context(), fake.NewClientset(configMap, secret), "ns", catalog); detail != "" || fix != "" {
		t.Errorf("with the secret: %q, %q", detail, fix)
	}
}
