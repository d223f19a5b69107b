package cluster

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

func clientFor(t *testing.T, c *Cluster, user string, groups ...string) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.RESTConfigFor(user, groups...))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func admin(t *testing.T, c *Cluster) kubernetes.Interface {
	t.Helper()
	return clientFor(t, c, adminUser, adminGroup)
}

func auditMark(t *testing.T, c *Cluster) AuditMark {
	t.Helper()
	mark, err := c.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	return mark
}

// auditSince returns the events of that user.
func auditSince(t *testing.T, c *Cluster, mark AuditMark, user string) []AuditEvent {
	t.Helper()
	events, err := c.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	var found []AuditEvent
	for _, event := range events {
		if event.User == user {
			found = append(found, event)
		}
	}
	return found
}

func eventually(t *testing.T, what string, condition wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), pollInterval, time.Minute, true, condition); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

func isReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
