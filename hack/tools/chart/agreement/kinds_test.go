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
func TestFieldsExistInTheKubernetesAPI(t *testing.T) {
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	values := map[string]any{}
	for name, value := range printed {
		if name != "agentURL" {
			set(values, name, parse(t, "v: "+value)["v"])
		}
	}
	// All values at once switch the uninstall off.
	uninstall := map[string]any{"uninstall": parse(t, "{force: true, keepHistory: true}")}
	hooks := 0
	for _, options := range []render.Options{
		{}, {Values: values}, {Cluster: onCluster{}}, {Values: values, Cluster: onCluster{}}, {Values: uninstall, Cluster: onCluster{}},
	} {
		for name, object := range fromChart(t, options) {
			if slices.Contains(customGroups, object.GroupVersionKind().Group) {
				continue // See custom_test.go.
			}
			if object.GetAnnotations()["helm.sh/hook"] != "" {
				hooks++
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
	if hooks < 30 {
		t.Errorf("%d hooks were looked at", hooks)
	}
}
