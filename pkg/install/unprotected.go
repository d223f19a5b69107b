package install

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// admissionEnds is how long an API server may go by an admission configuration
// that is deleted: it learns of that by a watch, usually within a second.
const admissionEnds = 10 * time.Second

// awaitUnprotected waits until new Nodes are created without the finalizer, which it checks by
// dry-run creations. Earlier Nodes would keep the finalizer without an agent that removes it.
//
// A failed check or a timeout is not an error, because the caller reads the nodes next, more than
// once.
func (r *Remover) awaitUnprotected(ctx context.Context) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "nodecleanup-uninstall-"}}
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: api.FieldManager}
	var refused error
	err := wait.PollUntilContextTimeout(ctx, askAgain, admissionEnds, true, func(ctx context.Context) (bool, error) {
		created, err := r.Nodes.CoreV1().Nodes().Create(ctx, node, options)
		refused = err
		return err != nil || !api.HasFinalizer(created), nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		r.say("new nodes still get the finalizer %s after our admission was deleted: look for another that adds it, kubectl get mutatingwebhookconfigurations,mutatingadmissionpolicies", admissionEnds)
	case refused != nil:
		r.say("cannot check whether new nodes still get the finalizer: %v", refused)
	}
	return nil
}
