package api

import (
	"regexp"

	corev1 "k8s.io/api/core/v1"
)

// NamespaceBlocker describes what blocks the deletion of a namespace: failed API services or
// remaining content.
type NamespaceBlocker struct {
	// Message is the namespace controller's, empty if it has not reported a cause.
	Message string
	// APIServices are the API services whose discovery fails. The namespace controller cannot
	// determine the remaining content.
	APIServices []string
}

// NamespaceBlockerOf returns the blockers of a terminating namespace, from its conditions. A cause
// comes before its effects.
func NamespaceBlockerOf(conditions []corev1.NamespaceCondition) NamespaceBlocker {
	for _, kind := range []corev1.NamespaceConditionType{
		corev1.NamespaceDeletionDiscoveryFailure, corev1.NamespaceDeletionGVParsingFailure, corev1.NamespaceDeletionContentFailure,
		corev1.NamespaceFinalizersRemaining, corev1.NamespaceContentRemaining,
	} {
		for _, condition := range conditions {
			if condition.Type != kind || condition.Status != corev1.ConditionTrue {
				continue
			}
			blocker := NamespaceBlocker{Message: condition.Message}
			if kind == corev1.NamespaceDeletionDiscoveryFailure {
				blocker.APIServices = apiServices(condition.Message)
			}
			return blocker
		}
	}
	return NamespaceBlocker{}
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
