package watcher

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// labelKeys is how many keys of labels are known at a time: clusters have dozens.
const labelKeys = 1000

// trimmer keeps of a Node's metadata what the watcher decides by, before it is stored. It is
// of the one that watches.
type trimmer struct{ keys map[string]string }

func newTrimmer() *trimmer { return &trimmer{keys: map[string]string{}} }

// key returns a string that is the same for all Nodes: thousands have the same dozens of labels.
func (t *trimmer) key(key string) string {
	if known, found := t.keys[key]; found {
		return known
	}
	if len(t.keys) >= labelKeys {
		clear(t.keys)
	}
	t.keys[key] = key
	return key
}

func (t *trimmer) trim(object any) (any, error) {
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
		labels[t.key(key)] = value
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
