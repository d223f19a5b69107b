package agreement_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

var customGroups = []string{"monitoring.coreos.com", "cert-manager.io"}

// Their definitions drop a field that they do not have without a word.
func TestFieldsExistInTheCustomResources(t *testing.T) {
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{certmanager.AddToScheme, monitoring.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	strict := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	seen := map[string]bool{}
	for _, more := range []string{"{}", "{certManager: {issuerRef: {group: awspca.cert-manager.io, kind: AWSPCAClusterIssuer, name: corporate}}}"} {
		values := parse(t, more)
		for _, name := range []string{"certManager", "podMonitor", "serviceMonitor", "prometheusRule"} {
			set(values, name+".enabled", true)
		}
		for _, name := range []string{"podMonitor", "serviceMonitor"} {
			set(values, name+".interval", "45s")
		}
		for name, object := range fromChart(t, render.Options{Values: values}) {
			if !slices.Contains(customGroups, object.GroupVersionKind().Group) {
				continue
			}
			seen[object.GetKind()] = true
			data, err := json.Marshal(object.Object)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := strict.Decode(data, nil, nil); err != nil {
				t.Errorf("%s: %v\n%s", name, err, data)
			}
		}
	}
	for _, kind := range []string{"Issuer", "Certificate", "PodMonitor", "ServiceMonitor", "PrometheusRule"} {
		if !seen[kind] {
			t.Errorf("no %s was looked at", kind)
		}
	}
}

func TestPrometheusRuleMatchesTheRuleFile(t *testing.T) {
	file := parse(t, read(t, manifests+"/monitoring/alerts.yaml"))
	rule := fromChart(t, render.Options{Values: parse(t, "{prometheusRule: {enabled: true}}")})["PrometheusRule/nodecleanup"]
	if groups, _ := file["groups"].([]any); len(groups) == 0 || !reflect.DeepEqual(rule.Object["spec"], any(file)) {
		t.Errorf("the chart has\n%s\nand manifests/monitoring/alerts.yaml %d groups", text(t, rule), len(groups))
	}
}

// What cert-manager makes has to be what the agent serves and the API server trusts.
func TestCertificateMatchesTheWebhook(t *testing.T) {
	all := fromChart(t, render.Options{Namespace: "elsewhere", Values: parse(t, "{certManager: {enabled: true}}")})
	var certificate certmanager.Certificate
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(all["Certificate/nodecleanup-webhook"].Object, &certificate); err != nil {
		t.Fatal(err)
	}
	if want := []string{api.Agent + ".elsewhere.svc"}; !slices.Equal(certificate.Spec.DNSNames, want) {
		t.Errorf("it is for %v, the API server asks for %v", certificate.Spec.DNSNames, want)
	}
	if !slices.Contains(certificate.Spec.Usages, certmanager.UsageServerAuth) {
		t.Errorf("its usages are %v, without that of a server", certificate.Spec.Usages)
	}
	for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
		webhook := all[kind+"/"+api.WebhookName]
		if got, want := webhook.GetAnnotations()["cert-manager.io/inject-ca-from"], certificate.Namespace+"/"+certificate.Name; got != want {
			t.Errorf("%s: the CA is that of %q, want %q", kind, got, want)
		}
	}
	volumes, _, err := unstructured.NestedSlice(all["Deployment/"+api.Agent].Object, "spec", "template", "spec", "volumes")
	if err != nil || len(volumes) != 1 {
		t.Fatalf("volumes %v, %v", volumes, err)
	}
	if mounted, _, _ := unstructured.NestedString(volumes[0].(map[string]any), "secret", "secretName"); mounted != certificate.Spec.SecretName {
		t.Errorf("the agent serves what is in Secret %q, cert-manager writes %q", mounted, certificate.Spec.SecretName)
	}
}
