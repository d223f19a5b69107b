package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

const (
	// noteFor is how long what is noted on a Node is not noted again. Writing it has the API
	// server ask once more, for it was about to delete what the Node was before.
	noteFor = 15 * time.Second
	// turnsFor is how long that holds for somebody else too: two who ask at the same time
	// would else take turns. The first is kept.
	turnsFor = 2 * time.Second
)

// noted reports whether it was noted a moment ago who asked for the Node's deletion.
func (g *Guard) noted(request Request) bool {
	at, err := time.Parse(time.RFC3339, request.Node.Annotations[api.AnnotationDeletionRequestedAt])
	if err != nil {
		return false
	}
	age := g.Clock.Since(at).Abs()
	return age < turnsFor || age < noteFor && request.Node.Annotations[api.AnnotationDeletionRequestedBy] == request.User
}

// justAllowedFor is how long an answer holds for who got it. The API server asks again as soon
// as it was noted, and what the first answer was has been counted.
const justAllowedFor = 5 * time.Second

// justAllowed reports whether the same user was allowed the same deletion a moment ago.
func (g *Guard) justAllowed(request Request) bool {
	at, err := time.Parse(time.RFC3339, request.Node.Annotations[api.AnnotationDeletionRequestedAt])
	return err == nil && g.Clock.Since(at).Abs() < justAllowedFor && request.Node.Annotations[api.AnnotationDeletionRequestedBy] == request.User
}

// note keeps on the Node who asked for its deletion, from where the leader puts it into the
// run record.
func (g *Guard) note(ctx context.Context, request Request) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": request.Node.UID, "annotations": map[string]string{
		api.AnnotationDeletionRequestedBy: request.User,
		api.AnnotationDeletionRequestedAt: g.Clock.Now().UTC().Format(time.RFC3339Nano),
	}}})
	if err != nil {
		return fmt.Errorf("encoding who asked: %w", err)
	}
	_, err = g.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).Patch(ctx, request.Node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("annotating node %s with who asked for its deletion: %w", request.Node.Name, err)
	}
	return nil
}

// event is what an Event says. Each kind is one function below.
type event struct{ kind, reason, message string }

func deletionRefused(request Request, verdict Verdict) event {
	var what []string
	for _, blocker := range verdict.Blockers {
		what = append(what, blocker.What)
	}
	for _, unread := range verdict.Unread {
		what = append(what, fmt.Sprintf("%s cannot be told", questions[unread.Rule]))
	}
	return event{corev1.EventTypeWarning, "DeletionRefused", oneLine(fmt.Sprintf("The delete guard refused %s to delete the node: %s", request.User, strings.Join(what, "; ")))}
}

func glassBroken(request Request, glass api.BreakGlass) event {
	return event{corev1.EventTypeWarning, "BreakGlass", oneLine(fmt.Sprintf("%s deletes the node without a look at what the delete guard would refuse. Reason: %s", request.User, glass.Reason))}
}

// tell records an Event about the Node.
func (g *Guard) tell(node *corev1.Node, e event) {
	g.Events.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}, e.kind, e.reason, e.message)
}
