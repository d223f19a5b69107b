package agreement_test

import (
	"fmt"
	"reflect"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// onCluster is a cluster as the chart's lookup sees it: there is a namespace kube-system.
type onCluster struct{}

func (onCluster) GetClientFor(version, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	if version != "v1" || kind != "Namespace" {
		return nil, false, fmt.Errorf("the chart looks up %s of %s, which this test does not have", kind, version)
	}
	client := fake.NewSimpleDynamicClient(scheme.Scheme, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}})
	return client.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")), false, nil
}

func TestTemplateOutputHasNoHooks(t *testing.T) {
	printed, live := fromChart(t, render.Options{}), fromChart(t, render.Options{Cluster: onCluster{}})
	hooks := 0
	for name, object := range live {
		if object.GetAnnotations()["helm.sh/hook"] == "" {
			continue
		}
		hooks++
		if printed[name] != nil {
			t.Errorf("%s is printed", name)
		}
	}
	if hooks < 10 {
		t.Errorf("there are %d hooks", hooks)
	}
}

func TestUninstallHookFollowsItsValues(t *testing.T) {
	for values, want := range map[string]struct {
		// more than uninstall, yes, keep-namespace and namespace.
		more     []string
		deadline int64
	}{
		"{}":                                {[]string{"--timeout=4m"}, 270},
		"{timeout: 90s}":                    {[]string{"--timeout=90s"}, 120},
		"{timeout: 1h2m3s}":                 {[]string{"--timeout=1h2m3s"}, 3753},
		"{timeout: 1.5h}":                   {[]string{"--timeout=1.5h"}, 5430},
		"{timeout: 2500ms}":                 {[]string{"--timeout=2500ms"}, 33},
		"{force: true, keepHistory: true}":  {[]string{"--timeout=4m", "--force", "--keep-history"}, 270},
		"{force: false, keepHistory: true}": {[]string{"--timeout=4m", "--keep-history"}, 270},
		"{enabled: true, force: true}":      {[]string{"--timeout=4m", "--force"}, 270},
	} {
		t.Run(values, func(t *testing.T) {
			job := uninstallJob(t, "uninstall: "+values)
			// A Job that waits for room would else run when another release is there.
			if got := job.Spec.ActiveDeadlineSeconds; got == nil || *got != want.deadline {
				t.Errorf("it is ended after %v seconds, want %d", got, want.deadline)
			}
			arguments := append([]string{"uninstall", "--yes", "--keep-namespace", "--namespace=" + api.Namespace}, want.more...)
			if got := job.Spec.Template.Spec.Containers[0].Args; !reflect.DeepEqual(got, arguments) {
				t.Errorf("it runs %q, want %q", got, arguments)
			}
		})
	}
	if off := fromChart(t, render.Options{Values: parse(t, "uninstall: {enabled: false}"), Cluster: onCluster{}}); off["Job/nodecleanup-uninstall"] != nil {
		t.Error("it is there although it is switched off")
	}
}

func TestHooksRunTheCLIImage(t *testing.T) {
	const digest = "sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
	for values, want := range map[string]string{
		"{tag: v9}":                                "ghcr.io/nodecleanup/kubectl-nodecleanup:v9",
		"{repository: example/cli}":                "example/cli:v0.0.0-dev",
		"{tag: ignored, digest: '" + digest + "'}": "ghcr.io/nodecleanup/kubectl-nodecleanup@" + digest,
	} {
		values = "cli: {image: " + values + "}"
		var test corev1.Pod
		convert(t, fromChart(t, render.Options{Values: parse(t, values), Cluster: onCluster{}})["Pod/nodecleanup-test"].Object, &test)
		if got := test.Spec.Containers[0].Image; got != want {
			t.Errorf("%s: the test runs %s, want %s", values, got, want)
		}
		if got := uninstallJob(t, values).Spec.Template.Spec.Containers[0].Image; got != want {
			t.Errorf("%s: the uninstall runs %s, want %s", values, got, want)
		}
	}
}

func uninstallJob(t *testing.T, values string) *batchv1.Job {
	t.Helper()
	object := fromChart(t, render.Options{Values: parse(t, values), Cluster: onCluster{}})["Job/nodecleanup-uninstall"]
	if object == nil {
		t.Fatal("there is no Job")
	}
	job := &batchv1.Job{}
	convert(t, object.Object, job)
	return job
}

func convert(t *testing.T, object map[string]any, into any) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, into); err != nil {
		t.Fatal(err)
	}
}
