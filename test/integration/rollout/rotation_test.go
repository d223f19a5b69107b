package rollout_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

const rotations = 20

// Each rotation replaces the CA, and with it every agent's certificate.
func TestRotationsLoseNoNode(t *testing.T) {
	admin, service := setUp(t)
	for _, name := range []string{"agent-a", "agent-b"} {
		service.add(start(t, name).webhook)
	}
	load := startLoad(t, admin)
	before := ca(t, admin)
	for range rotations {
		rotate(t, admin)
		after := ca(t, admin)
		if string(after.Data[corev1.TLSCertKey]) == string(before.Data[corev1.TLSCertKey]) {
			t.Fatal("the CA is the same after a rotation")
		}
		before = after
	}
	load.end()
	t.Logf("%d rotations, %s", rotations, load)
}

// rotate asks for a rotation and waits until it is over, with one CA left.
func rotate(t *testing.T, admin kubernetes.Interface) {
	t.Helper()
	before := ca(t, admin).Data[corev1.TLSCertKey]
	patch := []byte(`{"metadata":{"annotations":{"` + api.AnnotationRotate + `":"now"}}}`)
	if _, err := admin.CoreV1().Secrets(api.Namespace).Patch(t.Context(), api.CASecretName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, testTimeout, true, func(context.Context) (bool, error) {
		now := ca(t, admin)
		return len(now.Data) == 2 && string(now.Data[corev1.TLSCertKey]) != string(before), nil
	}); err != nil {
		t.Fatalf("waiting until a rotation is over: %v", err)
	}
}

func ca(t *testing.T, admin kubernetes.Interface) *corev1.Secret {
	t.Helper()
	secret, err := admin.CoreV1().Secrets(api.Namespace).Get(t.Context(), api.CASecretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}
