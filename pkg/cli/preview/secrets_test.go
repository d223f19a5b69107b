package preview

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// A Secret is created by one command, so the command has every key that the config uses.
func TestOneCommandCreatesEveryKeyOfASecret(t *testing.T) {
	key := func(secret, key string) cleanup.SecretKey { return cleanup.SecretKey{Name: secret, Key: key} }
	settings := &config.Config{
		Steps: []config.Step{
			{Name: "tell", Secrets: []cleanup.SecretKey{key("inventory", "token"), key("inventory", "url")}},
			{Name: "ask", Secrets: []cleanup.SecretKey{key("inventory", "url")}},
			{Name: "other", Secrets: []cleanup.SecretKey{key("other", "a")}},
		},
		Notifications: []config.Notification{{Name: "ops", Secrets: []cleanup.SecretKey{key("inventory", "chat")}}},
	}
	for name, test := range map[string]struct {
		// has are the keys of the existing Secret, nil without one.
		has        []string
		steps      []config.Step
		what, want string
	}{
		"missing":                        {nil, settings.Steps[:2], "step tell, step ask", "secret ns/inventory is missing → kubectl -n ns create secret generic inventory --from-literal=token=VALUE --from-literal=url=VALUE --from-literal=chat=VALUE"},
		"without keys":                   {[]string{"chat"}, settings.Steps[:1], "step tell", `secret ns/inventory has no values for keys token, url → kubectl -n ns patch secret inventory --type=merge -p '{"stringData":{"token":"VALUE","url":"VALUE"}}'`},
		"without one":                    {[]string{"chat", "url"}, settings.Steps[:2], "step tell", `secret ns/inventory has no value for key token → kubectl -n ns patch secret inventory --type=merge -p '{"stringData":{"token":"VALUE"}}'`},
		"without that of a notification": {[]string{"token", "url"}, settings.Steps[:2], "", ""},
		"no step":                        {nil, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []runtime.Object
			if test.has != nil {
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "inventory"}, Data: map[string][]byte{}}
				for _, key := range test.has {
					secret.Data[key] = []byte("x")
				}
				objects = append(objects, secret)
			}
			p, view := &Previewer{client: fake.NewClientset(objects...), namespace: "ns", config: settings}, printer.NewPlan("worker")
			if err := p.blockWithoutSecrets(t.Context(), view, test.steps); err != nil {
				t.Fatal(err)
			}
			var what, got string
			if len(view.Blocked) > 0 {
				what, got = view.Blocked[0].What, view.Blocked[0].Reason+" → "+view.Blocked[0].Remedy
			}
			if len(view.Blocked) > 1 || what != test.what || got != test.want {
				t.Errorf("the blockers are %+v, want %q: %q", view.Blocked, test.what, test.want)
			}
		})
	}
}
