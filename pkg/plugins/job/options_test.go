package job

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestOptions(t *testing.T) {
	// in returns options with this Pod spec.
	in := func(spec string) string { return `{"namespace": "ops", "template": {"spec": ` + spec + `}}` }
	const container = `"containers": [{"name": "main", "image": "a"}]`
	for options, want := range map[string]string{
		oneContainer: "",
		`{"namespace": "ops", "templateFrom": {"configMap": "t"}}`:                                                                                                        "",
		in(`{` + container + `, "restartPolicy": "Never", "serviceAccount": "default"}`):                                                                                  "",
		in(`{"containers": [{"name": "main", "image": "a", "args": ["sh", "-c", "echo ${HOME} $NODE_NAME"], "env": [{"name": "A", "value": "$${HOME} ${node.name}"}]}]}`): "",

		`{"templateFrom": {"configMap": "t"}}`:                                                  `namespace: "" is not a valid name of a namespace`,
		`{"namespace": "ns", "templateFrom": {"configMap": "t"}}`:                               "namespace: is ns, the namespace of the agent",
		`{"namespace": "nodecleanup-system", "templateFrom": {"configMap": "t"}}`:               "namespace: is nodecleanup-system, the namespace of the agent",
		`{"namespace": "ops", "serviceAccountName": "a b", "templateFrom": {"configMap": "t"}}`: `serviceAccountName: "a b" is not a valid name`,
		`{"namespace": "ops"}`: "template: set template or templateFrom",
		`{"namespace": "ops", "templateFrom": {"configMap": "t"}, "template": {"spec": {` + container + `}}}`:  "templateFrom: cannot be combined with template",
		`{"namespace": "ops", "templateFrom": {"configMap": ""}}`:                                              `templateFrom.configMap: "" is not a valid name of a ConfigMap`,
		`{"namespace": "ops", "templateFrom": {"configMap": "t"}, "outputs": ["a", "1", "a"]}`:                 "outputs[1]: recording output \"1\"|outputs[2]: \"a\" is listed twice",
		`{"namespace": "ops", "templateFrom": {"configMap": "t"}, "logLines": 51}`:                             "logLines: must be from 0 to 50, not 51",
		`{"namespace": "ops", "templateFrom": {"configMap": "t"}, "ttl": "9m"}`:                                "ttl: must be from 10m0s to 8760h0m0s, not 9m0s",
		`{"namespace": "ops", "templateFrom": {"configMap": "t"}, "ttl": "700000h"}`:                           "ttl: must be from 10m0s to 8760h0m0s, not 700000h0m0s",
		`{"namespace": "ops", "template": []}`:                                                                 "is not a Pod template",
		in(`{}`):                                                                                               "template.spec.containers: must have a container",
		in(`{"containers": [{"name": "main", "imagee": "a"}]}`):                                                "template.spec.containers[0].imagee: unknown field of a Pod template",
		in(`{"containers": {"name": "main"}}`):                                                                 "template.spec.containers: must be of type",
		in(`{` + container + `, "serviceAccountName": "admin"}`):                                               `template.spec.serviceAccountName: is "admin", but the option serviceAccountName is "default"`,
		in(`{` + container + `, "serviceAccount": "admin"}`):                                                   `template.spec.serviceAccount: is "admin"`,
		in(`{` + container + `, "nodeName": "worker-1"}`):                                                      "template.spec.nodeName: must not be set",
		in(`{` + container + `, "restartPolicy": "OnFailure"}`):                                                "template.spec.restartPolicy: must be Never, not OnFailure",
		`{"namespace": "ops", "template": {"metadata": {"name": "a"}, "spec": {` + container + `}}}`:           "template.metadata: must have only labels and annotations",
		in(`{"containers": [{"name": "main", "image": "a", "env": [{"name": "NODE_NAME", "value": "x"}]}]}`):   "template.spec.containers[0].env[0].name: NODE_NAME is set by the plugin",
		in(`{"containers": [{"name": "main", "image": "a", "env": [{"name": "A", "value": "${node.nam}"}]}]}`): "template.spec.containers[0].env[0].value: has the unknown reference ${node.nam}",
		// The value of a label must not become part of a command.
		in(`{"containers": [{"name": "main", "image": "a", "args": ["echo ${node.labels['a']}"]}]}`): "template.spec.containers[0].args[0]: has the reference ${node.labels}, which is only replaced in the value of an environment variable",
		in(`{"containers": [{"name": "main", "image": "${node.name}"}]}`):                            "template.spec.containers[0].image: has the reference ${node.name}",
	} {
		_, faults := Descriptor(nil, nil, "ns").Bind([]byte(options))
		var texts []string
		for _, fault := range faults {
			texts = append(texts, fault.Error())
		}
		got := strings.Join(texts, "\n")
		if want == "" && got != "" {
			t.Errorf("%s: %s", options, got)
		}
		for _, part := range strings.Split(want, "|") {
			if !strings.Contains(got, part) || got == "" && want != "" {
				t.Errorf("%s: the faults are\n%s\nwant %s", options, got, part)
			}
		}
	}
}

// A ConfigMap can be changed by others than the author of the config, so its template is checked again
// whenever it is read.
func TestTemplateInAConfigMap(t *testing.T) {
	for text, want := range map[string]string{
		"spec:\n  containers:\n  - {name: main, image: a}\n":                              "",
		"spec:\n  serviceAccountName: admin\n  containers:\n  - {name: main, image: a}\n": `key pod.yaml: spec.serviceAccountName: is "admin"`,
		"spec:\n  serviceAccount: admin\n  containers:\n  - {name: main, image: a}\n":     `spec.serviceAccount: is "admin"`,
		"spec:\n  nodeName: control-plane\n  containers:\n  - {name: main, image: a}\n":   "spec.nodeName: must not be set",
		"spec:\n  containers:\n  - {name: main, imagee: a}\n":                             "spec.containers[0].imagee: unknown field",
		"spec: {}\nspec: {}\n": "key pod.yaml: ",
		"":                     "spec.containers: must have a container",
		"-":                    "is not a Pod template",
	} {
		client := fake.NewClientset(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ops", Name: "t"}, Data: map[string]string{"pod.yaml": text}})
		bound, faults := Descriptor(client, nil, "ns").Bind([]byte(`{"namespace": "ops", "templateFrom": {"configMap": "t", "key": "pod.yaml"}}`))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		_, err := bound.(*plugin).template(t.Context())
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%q: the error is %s, want %s", text, got, want)
		}
	}
}

func TestAbilities(t *testing.T) {
	p := bind(t, `{"namespace": "ops", "serviceAccountName": "a", "onNode": true, "templateFrom": {"configMap": "t"}, "outputs": ["x"]}`)
	if run := p.RunsPods(); run.Namespace != "ops" || run.ServiceAccountName != "a" || !run.OnNode {
		t.Errorf("it runs %+v", run)
	}
	if names := p.OutputNames(); len(names) != 1 || names[0] != "x" {
		t.Errorf("its outputs are %v", names)
	}
	if names := bind(t, oneContainer).OutputNames(); names == nil || len(names) != 0 {
		t.Errorf("without outputs: %#v, but nil would mean that any name is valid", names)
	}
}
