package inspect

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// revisionAnnotation holds the number of the revision, on a Deployment and on its ReplicaSets:
// https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
const revisionAnnotation = "deployment.kubernetes.io/revision"

// readEarlierImage reads the image of the revision before the current one. Without the right to list ReplicaSets, it is
// not known.
func (s *Snapshot) readEarlierImage(ctx context.Context, client kubernetes.Interface) error {
	sets, err := client.AppsV1().ReplicaSets(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(s.Deployment.Spec.Selector)})
	switch {
	case apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return fmt.Errorf("listing the agent's replica sets: %w", err)
	}
	current, last := revisionOf(s.Deployment), 0
	for i := range sets.Items {
		if number := revisionOf(&sets.Items[i]); number > last && number < current {
			last, s.earlierImage = number, agentImage(sets.Items[i].Spec.Template)
		}
	}
	return nil
}

// revisionOf returns the number of a revision, 0 if the object has none.
func revisionOf(object metav1.Object) int {
	number, err := strconv.Atoi(object.GetAnnotations()[revisionAnnotation])
	if err != nil {
		return 0
	}
	return number
}

// agentImage returns the image of the agent's container, empty if the template has none.
func agentImage(template corev1.PodTemplateSpec) string {
	at := slices.IndexFunc(template.Spec.Containers, func(container corev1.Container) bool { return container.Name == "agent" })
	if at < 0 {
		return ""
	}
	return template.Spec.Containers[at].Image
}

// imageRemedy returns the command that gives the agent an image that can be pulled, empty if no other
// image is known.
func imageRemedy(s *Snapshot, agent printer.Agent) string {
	const released = install.Repository + ":"
	image, mine := agentImage(s.Deployment.Spec.Template), released+version.Version
	if image == "" {
		return ""
	}
	switch {
	case slices.ContainsFunc(s.Deployment.ManagedFields, changesImage):
		return Reinstall(agent, "--force-conflicts") // It restores the image of the previous install.
	case agent.HelmUpgrade != "":
		return ""
	case image != mine && (strings.HasPrefix(image, released) || !strings.Contains(image, "/")):
		return Reinstall(agent, "--image "+mine)
	case s.earlierImage != "" && s.earlierImage != image:
		return fmt.Sprintf("kubectl -n %s rollout undo deployment %s", s.Namespace, api.Agent)
	}
	return ""
}

// changesImage reports whether a client other than an install has set the image of a container.
func changesImage(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager != api.FieldManager && entry.Manager != "helm" && entry.FieldsV1 != nil && strings.Contains(string(entry.FieldsV1.Raw), `"f:image"`)
}
