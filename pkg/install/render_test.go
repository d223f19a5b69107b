package install

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nodecleanup/kubectl-nodecleanup/manifests"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer/printertest"
)

func TestRenderGolden(t *testing.T) {
	replicas := int32(3)
	for name, options := range map[string]Options{
		"default.yaml": {},
		"changed.yaml": {
			Namespace: "elsewhere", Image: "registry.example/agent:v9", Replicas: &replicas,
			Config: []byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"),
		},
		"agent-url.yaml": {AgentURL: "https://127.0.0.1:9443/"},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := Render(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := printer.Objects(&out, printer.YAML, objects); err != nil {
				t.Fatal(err)
			}
			printertest.Golden(t, name, out.String())
		})
	}
}

func TestOptionsFaults(t *testing.T) {
	none := int32(0)
	for name, test := range map[string]struct {
		options Options
		faults  []string
	}{
		"all at once":       {Options{Namespace: "No", Image: "a b", Replicas: &none}, []string{"namespace", "white space", "at least 1"}},
		"no https":          {Options{AgentURL: "http://127.0.0.1:9443"}, []string{"https://"}},
		"no host":           {Options{AgentURL: "https://"}, []string{"host"}},
		"a path":            {Options{AgentURL: "https://127.0.0.1/mutate-node"}, []string{"must not have a path"}},
		"a query":           {Options{AgentURL: "https://127.0.0.1?a=b"}, []string{"query"}},
		"outside and image": {Options{AgentURL: "https://127.0.0.1", Image: "i"}, []string{"no effect"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Render(t.Context(), test.options)
			if err == nil {
				t.Fatal("no fault was found")
			}
			for _, fault := range test.faults {
				if !strings.Contains(err.Error(), fault) {
					t.Errorf("missing %q in: %v", fault, err)
				}
			}
		})
	}
}

// The manifests are plain YAML. Only this test keeps their names equal to the names in the code.
func TestManifestsUseTheNamesOfTheCode(t *testing.T) {
	objects := rendered(t)
	for _, name := range []string{
		"Namespace/" + api.Namespace,
		"ServiceAccount/" + api.Agent,
		"ClusterRole/" + api.Agent,
		"ClusterRoleBinding/" + api.Agent,
		"ClusterRole/" + api.AgentSteps,
		"ClusterRoleBinding/" + api.AgentSteps,
		"Role/" + api.Agent,
		"RoleBinding/" + api.Agent,
		"Role/" + api.AgentEvents,
		"RoleBinding/" + api.AgentEvents,
		"Service/" + api.Agent,
		"Deployment/" + api.Agent,
		"ConfigMap/" + api.ConfigName,
		"MutatingWebhookConfiguration/" + api.WebhookName,
		"ValidatingWebhookConfiguration/" + api.WebhookName,
	} {
		if objects[name] == nil {
			t.Fatalf("%s is missing", name)
		}
	}
	for name, object := range objects {
		if !ours(object) {
			t.Errorf("%s lacks the label by which uninstall finds it", name)
		}
		kind, err := kindOf(object.GroupVersionKind())
		if err != nil {
			t.Errorf("%s would stay behind: %v", name, err)
		}
		namespace := ""
		switch {
		case kind.nameInDefault() == object.GetName():
			namespace = metav1.NamespaceDefault // An uninstall looks for it there.
		case kind.namespaced:
			namespace = api.Namespace
		}
		if object.GetNamespace() != namespace {
			t.Errorf("%s is in namespace %q, want %q", name, object.GetNamespace(), namespace)
		}
	}
	configuration := &admissionv1.MutatingWebhookConfiguration{}
	convert(t, objects["MutatingWebhookConfiguration/"+api.WebhookName], configuration)
	hook := configuration.Webhooks[0]
	if hook.Name != api.WebhookHook || *hook.ClientConfig.Service.Path != api.MutatePath || hook.ClientConfig.Service.Name != api.Agent {
		t.Errorf("the webhook %s calls %+v", hook.Name, hook.ClientConfig.Service)
	}
	if len(hook.ClientConfig.CABundle) > 0 {
		t.Error("the manifests own the CA: applying them would take the agent's away")
	}
	if !strings.Contains(hook.MatchConditions[0].Expression, "'"+api.Finalizer+"'") {
		t.Errorf("the match condition names another finalizer: %s", hook.MatchConditions[0].Expression)
	}
	validating := &admissionv1.ValidatingWebhookConfiguration{}
	convert(t, objects["ValidatingWebhookConfiguration/"+api.WebhookName], validating)
	guard := validating.Webhooks[0]
	if guard.Name != api.GuardHook || *guard.ClientConfig.Service.Path != api.GuardPath || guard.ClientConfig.Service.Name != api.Agent || len(guard.ClientConfig.CABundle) > 0 {
		t.Errorf("the webhook %s calls %+v", guard.Name, guard.ClientConfig)
	}
	policy, _, _ := unstructured.NestedSlice(objects["ValidatingAdmissionPolicy/"+api.WebhookName].Object, "spec", "matchConditions")
	for _, word := range []string{
		api.Finalizer, api.AnnotationBypass, api.AnnotationBypassReason, api.AnnotationBypassUntil, api.AnnotationBypassBy, api.AnnotationProtect, api.AnnotationBreakGlass,
		api.AnnotationBreakGlassUntil, api.AnnotationDeletionRequestedBy, api.AnnotationDeletionRequestedAt,
		api.AnnotationCleanupRequestedAt, api.AnnotationCleanupRequestedBy, api.AnnotationRetryRequestedAt, api.AnnotationRetryRequestedBy,
	} {
		if !strings.Contains(fmt.Sprint(policy), "'"+word+"'") {
			t.Errorf("the policy does not look at %s", word)
		}
	}
	records := fmt.Sprint(objects["ValidatingAdmissionPolicy/"+api.RecordsPolicyName].Object["spec"])
	for _, word := range []string{"'" + api.StatusName + "'", "'" + api.GuardName + "'", "'" + api.NotificationsName + "'", "'" + api.LabelRun + "'", "'" + api.AnnotationPreflightRequestedAt + "'", "'run-'"} {
		if !strings.Contains(records, word) {
			t.Errorf("the policy for run records does not look at %s", word)
		}
	}
	if !strings.HasPrefix(api.RunName("node", "0"), "run-") {
		t.Error("run records have names that the policy does not look at")
	}
	deployment := &appsv1.Deployment{}
	convert(t, objects["Deployment/"+api.Agent], deployment)
	if got := deployment.Spec.Template.Spec.Containers[0].Image; !strings.HasPrefix(got, Repository+":") {
		t.Errorf("the image is %s", got)
	}
	if _, found, _ := unstructured.NestedString(objects["ConfigMap/"+api.ConfigName].Object, "data", api.ConfigKey); !found {
		t.Errorf("the config is not in key %s", api.ConfigKey)
	}
}

func TestRightsOfTheAgentByName(t *testing.T) {
	objects := rendered(t)
	role, clusterRole := &rbacv1.Role{}, &rbacv1.ClusterRole{}
	convert(t, objects["Role/"+api.Agent], role)
	convert(t, objects["ClusterRole/"+api.Agent], clusterRole)
	for _, test := range []struct {
		rules    []rbacv1.PolicyRule
		resource string
		verb     string
		name     string
	}{
		{clusterRole.Rules, "mutatingwebhookconfigurations", "patch", api.WebhookName},
		{clusterRole.Rules, "validatingwebhookconfigurations", "patch", api.WebhookName},
		{role.Rules, "secrets", "update", api.CASecretName},
		{role.Rules, "leases", "update", api.Agent},
	} {
		for _, rule := range test.rules {
			if slices.Contains(rule.Resources, test.resource) && slices.Contains(rule.Verbs, test.verb) && !slices.Equal(rule.ResourceNames, []string{test.name}) {
				t.Errorf("%s %s is allowed for %v, want %s alone", test.verb, test.resource, rule.ResourceNames, test.name)
			}
		}
	}
	for _, rule := range append(role.Rules, clusterRole.Rules...) {
		for _, words := range [][]string{rule.Verbs, rule.Resources, rule.APIGroups} {
			if slices.Contains(words, "*") {
				t.Errorf("a rule has a wildcard: %v", rule)
			}
		}
	}
}

// A file that the kustomization forgets would be left out of every install.
func TestEveryManifestIsApplied(t *testing.T) {
	kustomization, err := manifests.Base.ReadFile("base/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(manifests.Base, "base/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimPrefix(file, "base/")
		if name != "kustomization.yaml" && !strings.Contains(string(kustomization), "- "+name+"\n") {
			t.Errorf("%s is not among the resources", name)
		}
	}
}

func rendered(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	list, err := Render(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]*unstructured.Unstructured{}
	for _, object := range list {
		objects[object.GetKind()+"/"+object.GetName()] = object
	}
	return objects
}

// convert is strict, so that a field that Kubernetes does not have is found.
func convert(t *testing.T, object *unstructured.Unstructured, into runtime.Object) {
	t.Helper()
	data, err := json.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Fatal(err)
	}
}
