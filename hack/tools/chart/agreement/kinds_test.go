package agreement_test

import (
	"encoding/json"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
)

// A field that Kubernetes does not have would be dropped without a word by an apply
// that does not validate.
func TestEveryFieldIsOneOfKubernetes(t *testing.T) {
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	values := map[string]any{}
	for name, value := range printed {
		if name != "agentURL" {
			set(values, name, parse(t, "v: "+value)["v"])
		}
	}
	for _, values := range []map[string]any{nil, values} {
		for name, object := range fromChart(t, render.Options{Values: values}) {
			if slices.Contains(customGroups, object.GroupVersionKind().Group) {
				continue // See custom_test.go.
			}
			data, err := json.Marshal(object.Object)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := strict.Decode(data, nil, nil); err != nil {
				t.Errorf("%s: %v\n%s", name, err, data)
			}
		}
	}
}
