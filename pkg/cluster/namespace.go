package cluster

import (
	"regexp"

	corev1 "k8s.io/api/core/v1"
)

// Held is what holds a namespace that terminates.
type Held struct {
	// Message is that of the namespace controller, empty if it has said nothing.
	Message string
	// APIServices are those whose discovery fails: the controller does not know what is left.
	APIServices []string
}

// HeldBy returns what the conditions of a terminating namespace say.
func HeldBy(conditions []corev1.NamespaceCondition) Held {
	for _, kind := range []corev1.NamespaceConditionType{
		corev1.NamespaceDeletionDiscoveryFailure, corev1.NamespaceDeletionGVParsingFailure, corev1.NamespaceDeletionContentFailure,
		corev1.NamespaceContentRemaining, corev1.NamespaceFinalizersRemaining,
	} {
		for _, condition := range conditions {
			if condition.Type != kind || condition.Status != corev1.ConditionTrue {
				continue
			}
			held := Held{Message: condition.Message}
			if kind == corev1.NamespaceDeletionDiscoveryFailure {
				held.APIServices = apiServices(condition.Message)
			}
			return held
		}
	}
	return Held{}
}

// groupVersion is how a failed discovery names each group: "metrics.example.com/v1: the server is …"
// (ErrGroupDiscoveryFailed in k8s.io/client-go/discovery).
var groupVersion = regexp.MustCompile(`([a-z0-9-]+(?:\.[a-z0-9-]+)+)/(v[0-9]+(?:(?:alpha|beta)[0-9]+)?): `)

func apiServices(message string) []string {
	var names []string
	for _, match := range groupVersion.FindAllStringSubmatch(message, -1) {
		names = append(names, match[2]+"."+match[1])
	}
	return names
}
