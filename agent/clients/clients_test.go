package clients

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/serverclock"
)

// The agent uses these clients: the fence is asked about each write.
func TestLeaderClientsAreFenced(t *testing.T) {
	arrived := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		arrived <- request.Method
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	c, err := New(Options{REST: &rest.Config{Host: server.URL}, Clock: serverclock.New(slog.New(slog.DiscardHandler)), Election: leader.New(leader.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, write := range map[string]func() error{
		"kubernetes": func() error { return c.Leading.CoreV1().RESTClient().Post().Resource("nodes").Do(ctx).Error() },
		"metadata": func() error {
			return c.LeadingMetadata.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).Delete(ctx, "worker", metav1.DeleteOptions{})
		},
	} {
		if err := write(); !errors.Is(err, leader.ErrLost) || len(arrived) > 0 {
			t.Errorf("%s: %v, %d requests arrived", name, err, len(arrived))
		}
	}
	// A replica that is not the leader still answers admission reviews, and renews its certificate.
	if err := c.Work.CoreV1().RESTClient().Post().Resource("events").Do(ctx).Error(); errors.Is(err, leader.ErrLost) || len(arrived) != 1 {
		t.Errorf("a write that is not the leader's: %v", err)
	}
}
