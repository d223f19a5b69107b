package runstore

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// A controller may label a record faster than it can be saved.
func TestSaveFailsAfterRepeatedConflicts(t *testing.T) {
	run := &api.Run{Node: "worker", NodeUID: "u", State: api.Running}
	stored, err := api.EncodeRun("ns", run)
	if err != nil {
		t.Fatal(err)
	}
	puts := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var answer any = &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: stored.ObjectMeta, Data: stored.Data}
		if request.Method == http.MethodPut {
			puts++
			status := apierrors.NewConflict(corev1.Resource("configmaps"), stored.Name, nil).ErrStatus
			status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
			w.WriteHeader(http.StatusConflict)
			answer = &status
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	store := New(kubernetes.NewForConfigOrDie(&rest.Config{Host: server.URL}).CoreV1(), "ns", func(*api.Run) {})
	stored.ResourceVersion = "1"
	read, handle, err := store.Load(t.Context(), "worker", "u")
	if err != nil {
		t.Fatal(err)
	}
	read.State = api.Waiting
	err = handle.Save(t.Context(), read)
	if !apierrors.IsConflict(err) || strings.Contains(err.Error(), "%!") {
		t.Errorf("the error is: %v", err)
	}
	if puts != maxAttempts {
		t.Errorf("it was written %d times, want %d", puts, maxAttempts)
	}
}

// The ConfigMap of a record may exist without the record, for example after a restore.
func TestSaveDoesNotReplaceAnUnreadConfigMap(t *testing.T) {
	run := &api.Run{Node: "worker", NodeUID: "u", State: api.Running}
	empty, err := api.EncodeRun("ns", run)
	if err != nil {
		t.Fatal(err)
	}
	empty.Data = nil
	client := fake.NewClientset(empty)
	if err := New(client.CoreV1(), "ns", func(*api.Run) {}).NewHandle().Save(t.Context(), run); !apierrors.IsAlreadyExists(err) {
		t.Errorf("the error is: %v", err)
	}
	if stored, err := client.CoreV1().ConfigMaps("ns").Get(t.Context(), empty.Name, metav1.GetOptions{}); err != nil || len(stored.Data) != 0 {
		t.Errorf("stored is %v, %v", stored.Data, err)
	}
}
