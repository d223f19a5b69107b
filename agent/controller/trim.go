package controller

import (
	"strings"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trim keeps of a Node's metadata what the controller decides by, before the informer
// stores it. Thousands of Nodes have the same label keys, which are stored once.
func trim(object any) (any, error) {
	node, is := object.(*metav1.PartialObjectMetadata)
	if !is {
		return object, nil
	}
	var annotations map[string]string
	for key, value := range node.Annotations {
		if strings.HasPrefix(key, "nodecleanup.io/") {
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[key] = value
		}
	}
	labels := make(map[string]string, len(node.Labels))
	for key, value := range node.Labels {
		labels[unique.Make(key).Value()] = value
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name:              node.Name,
		UID:               node.UID,
		ResourceVersion:   node.ResourceVersion,
		Labels:            labels,
		Annotations:       annotations,
		Finalizers:        node.Finalizers,
		DeletionTimestamp: node.DeletionTimestamp,
	}}, nil
}
