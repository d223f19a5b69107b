package config

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestViewOfAConfigMapWithoutItsKeyIsAnError(t *testing.T) {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.ConfigName}}
	const want = "reading the config: configmap ns/nodecleanup-config has no key config.yaml"
	if text, err := stored(t.Context(), fake.NewClientset(object), "ns"); err == nil || err.Error() != want {
		t.Errorf("it returns %q and error %v, want %q", text, err, want)
	}
}
