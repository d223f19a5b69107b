package inspect

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// firstRevision is the revision of a Deployment that was never changed.
const firstRevision = "1"

// imageRemedy returns the command that gives the agent an image that can be pulled, empty if no other
// image is known.
func imageRemedy(s *Snapshot, agent printer.Agent) string {
	containers := s.Deployment.Spec.Template.Spec.Containers
	at := slices.IndexFunc(containers, func(container corev1.Container) bool { return container.Name == "agent" })
	if at < 0 {
		return ""
	}
	const released = install.Repository + ":"
	image, mine := containers[at].Image, released+version.Version
	revision := s.Deployment.Annotations["deployment.kubernetes.io/revision"]
	switch {
	case slices.ContainsFunc(s.Deployment.ManagedFields, changesImage):
		return Reinstall(agent, "--force-conflicts") // It restores the image of the previous install.
	case agent.HelmUpgrade != "":
		return ""
	case image != mine && (strings.HasPrefix(image, released) || !strings.Contains(image, "/")):
		return Reinstall(agent, "--image "+mine)
	case revision != "" && revision != firstRevision:
		return fmt.Sprintf("kubectl -n %s rollout undo deployment %s", s.Namespace, api.Agent)
	}
	return ""
}

// changesImage reports whether a client other than an install has set the image of a container.
func changesImage(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager != api.FieldManager && entry.Manager != "helm" && entry.FieldsV1 != nil && strings.Contains(string(entry.FieldsV1.Raw), `"f:image"`)
}
