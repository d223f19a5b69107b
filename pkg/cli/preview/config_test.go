package preview

import (
	"errors"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// An agent that starts with an invalid config ends, and uses none.
func TestOnlyALeaderUsesTheLastValidConfig(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		holder string
		uses   bool
	}{
		"a leader":     {"agent-1", true},
		"crashed Pods": {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.Agent}, Spec: coordinationv1.LeaseSpec{
				HolderIdentity: ptr.To(test.holder), LeaseDurationSeconds: ptr.To[int32](15), RenewTime: ptr.To(metav1.NewMicroTime(now.Add(-time.Second))),
			}}
			configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.ConfigName}, Data: map[string]string{
				api.ConfigKey: "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: a, plugin: drian}]\n",
			}}
			_, err := Load(t.Context(), fake.NewClientset(configMap, lease), "ns", func() time.Time { return now })
			var invalid *exit.Error
			if !errors.As(err, &invalid) || !strings.HasPrefix(invalid.Next, "Fix the lines above: kubectl nodecleanup config edit.") {
				t.Fatalf("the error is %v", err)
			}
			if uses := strings.Contains(invalid.Next, "Until then, the agent uses the last valid config."); uses != test.uses {
				t.Errorf("the next step is %q", invalid.Next)
			}
		})
	}
}
