package servingcert

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// The Secret of the CA holds private keys, in its data and, if it was applied, in an annotation.
func TestInformersStoreNoSecretContent(t *testing.T) {
	const canary = "canary-9b2d4f"
	authority := &Authority{Options: Options{Namespace: "ours", Client: fake.NewClientset(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: api.CASecretName, Namespace: "ours", Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: canary}},
		Data:       map[string][]byte{"tls.key": []byte(canary)},
	})}}
	informers, err := authority.informers()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for what, informer := range informers {
		go informer.RunWithContext(t.Context())
		if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
			t.Fatalf("%s was not listed", what)
		}
		stored, err := json.Marshal(informer.GetStore().List())
		if err != nil {
			t.Fatal(err)
		}
		found = found || strings.Contains(string(stored), api.CASecretName)
		if strings.Contains(string(stored), canary) || strings.Contains(string(stored), "Y2FuYXJ5") {
			t.Errorf("the store of %s holds the key: %s", what, stored)
		}
	}
	if !found {
		t.Error("no store holds the Secret")
	}
}
