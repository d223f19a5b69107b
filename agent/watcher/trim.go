package watcher

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trim keeps of a Node what the watcher decides by, before it is stored: the
// images and addresses of thousands of Nodes would be most of the agent's memory.
func trim(object any) (any, error) {
	node, is := object.(*corev1.Node)
	if !is {
		return object, nil
	}
	annotations := map[string]string{}
	for key, value := range node.Annotations {
		if strings.HasPrefix(key, "nodecleanup.io/") {
			annotations[key] = value
		}
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:              node.Name,
		UID:               node.UID,
		ResourceVersion:   node.ResourceVersion,
		Labels:            node.Labels,
		Annotations:       annotations,
		Finalizers:        node.Finalizers,
		DeletionTimestamp: node.DeletionTimestamp,
	}}, nil
}
