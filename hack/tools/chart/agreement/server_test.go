package agreement_test

import (
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// What the API server refuses shows nowhere else: a value that is out of bounds, a name
// that is used twice, an expression that does not compile.
func TestAPIServerAcceptsEveryObject(t *testing.T) {
	shared := cluster.Start(t, cluster.Options{Name: "chart"})
	client := dynamic.NewForConfigOrDie(shared.RESTConfig())
	resource := func(kind schema.GroupVersionKind) schema.GroupVersionResource {
		plural, _ := meta.UnsafeGuessKindToResource(kind)
		return plural
	}
	namespace := fromChart(t, render.Options{})["Namespace/"+api.Namespace]
	if _, err := client.Resource(resource(namespace.GroupVersionKind())).Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	all := map[string]any{}
	for name, value := range printed {
		if name != "agentURL" {
			set(all, name, parse(t, "v: "+value)["v"])
		}
	}
	values := map[string]map[string]any{
		"default": nil, "every value": all, "webhook": parse(t, "admission: webhook"), "policy": parse(t, "admission: policy"),
		"agent outside": parse(t, "agentURL: "+printed["agentURL"]),
	}
	for _, folder := range folders(t, manifests+"/overlays") {
		values[filepath.Base(folder)] = readValues(t, filepath.Join(folder, "values.yaml"))
	}
	for name, values := range values {
		t.Run(name, func(t *testing.T) {
			for name, object := range fromChart(t, render.Options{Values: values}) {
				if object.GetKind() == "Namespace" || slices.Contains(customGroups, object.GroupVersionKind().Group) {
					continue
				}
				_, err := client.Resource(resource(object.GroupVersionKind())).Namespace(object.GetNamespace()).
					Create(t.Context(), object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}
