package operate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// foreignCA returns a CA that did not sign the agent's certificate, in PEM.
func foreignCA(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(61 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// denyCAUpdates removes the agent's right to publish its CA, until the test ends.
func (f *fixture) denyCAUpdates() {
	f.Helper()
	roles := f.client.RbacV1().ClusterRoles()
	role, err := roles.Get(f.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := roles.Delete(context.WithoutCancel(f.Context()), api.Agent, metav1.DeleteOptions{}); err != nil {
			f.Error(err)
		}
	})
	for i, rule := range role.Rules {
		if slices.Contains(rule.Resources, "validatingwebhookconfigurations") {
			role.Rules[i].Verbs = slices.DeleteFunc(rule.Verbs, func(verb string) bool { return verb == "patch" || verb == "update" })
		}
	}
	if _, err := roles.Update(f.Context(), role, metav1.UpdateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.eventually("the authorizer observes the role change", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("check").out, "patch validatingwebhookconfigurations"), nil
	})
}

// withoutPolicy runs a function while the policy has no binding.
func (f *fixture) withoutPolicy(run func()) {
	f.Helper()
	bindings := f.client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
	binding, err := bindings.Get(f.Context(), api.WebhookName, metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	if err := bindings.Delete(f.Context(), api.WebhookName, metav1.DeleteOptions{}); err != nil {
		f.Fatal(err)
	}
	run()
	binding.ResourceVersion, binding.UID = "", ""
	if _, err := bindings.Create(f.Context(), binding, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

// The policy puts the finalizer on every Node, and the leader is alive, but no call of the API
// server gets through to the webhooks.
func TestCheckFindsAnUnreachableGuard(t *testing.T) {
	f := setUpBy(t, install.AdmissionAuto, "steps: [{name: log, plugin: logger}]\n")
	f.start()
	f.edit("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nnodeSelector: {matchLabels: {pool: blue}}\nsteps: [{name: log, plugin: logger}]\n")
	f.node("worker", map[string]string{"pool": "blue"})
	f.patch("worker", `{"metadata":{"annotations":{"`+api.AnnotationProtect+`":"true"}}}`)
	f.eventually("the guard denies a dry run", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("check").out, "it denied a dry-run deletion of node worker"), nil
	})
	f.eventually("the webhook is distinguished from the policy", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("check").out, "the policy adds it, and the webhook answers"), nil
	})
	f.withoutPolicy(func() {
		f.eventually("only the webhook adds the finalizer", func(context.Context) (bool, error) {
			return strings.Contains(f.quietly("check").out, "! admission: finalizer on a new node (dry run) · the webhook adds it, but the policy does not"), nil
		})
	})
	f.eventually("the policy is back", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("check").out, "the policy adds it, and the webhook answers"), nil
	})
	f.denyCAUpdates()
	bundle := base64.StdEncoding.EncodeToString(foreignCA(t))
	patch := func(hook, policy string) []byte {
		return fmt.Appendf(nil, `{"webhooks":[{"name":%q,"failurePolicy":%q,"clientConfig":{"caBundle":%q}}]}`, hook, policy, bundle)
	}
	webhooks := f.client.AdmissionregistrationV1()
	if _, err := webhooks.ValidatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.StrategicMergePatchType, patch(api.GuardHook, "Ignore"), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := webhooks.MutatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.StrategicMergePatchType, patch(api.WebhookHook, "Ignore"), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	var checks map[string]printer.Check
	f.eventually("the API server trusts another CA", func(context.Context) (bool, error) {
		checks = f.checked(exit.Unhealthy)
		return checks["guard"].Outcome == printer.Error, nil
	})
	f.wantOutcomes(checks, map[string]printer.Outcome{"leader": printer.Pass, "guard": printer.Error, "admission": printer.Error})
	for id, says := range map[string]string{"guard": "deletions are not guarded", "admission": "the policy adds it, but the API server cannot call the webhook"} {
		if check := checks[id]; !strings.Contains(check.Detail, says) || !strings.Contains(check.Detail, "x509: certificate signed by unknown authority") || !strings.Contains(check.Hint, "publishes its CA") {
			t.Errorf("%s: %+v", id, check)
		}
	}
	// With failurePolicy Fail, the API server itself names the cause.
	if _, err := webhooks.ValidatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.StrategicMergePatchType, patch(api.GuardHook, "Fail"), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the API server refuses", func(context.Context) (bool, error) {
		detail := f.checked(exit.Unhealthy)["guard"].Detail
		return strings.Contains(detail, `failed calling webhook "delete.nodecleanup.io"`) && strings.Contains(detail, "x509"), nil
	})
	if _, err := webhooks.ValidatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.StrategicMergePatchType, patch(api.GuardHook, "Ignore"), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
