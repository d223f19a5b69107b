// Package nodecache watches all Nodes and keeps of each what the agent decides by: of its
// metadata, the labels, finalizers and our annotations.
package nodecache

import (
	"context"
	"fmt"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// Node is what the cache keeps of a Node.
type Node = metav1.PartialObjectMetadata

// Cache holds all Nodes.
type Cache struct{ informer cache.SharedIndexInformer }

// Handler is called for each change, for one at a time.
type Handler interface {
	// NodeAdded is called for each Node that there is at first, and that is created.
	NodeAdded(node *Node)
	// NodeUpdated is called for each change. Both are of one name, but not always of one UID:
	// a watch that was interrupted can miss a deletion.
	NodeUpdated(before, node *Node)
	// NodeDeleted is called with the last known state of a deleted Node.
	NodeDeleted(node *Node)
}

// New returns a cache that is not running yet.
func New(client metadata.Interface) *Cache {
	// Only the metadata: a Node with its images and addresses is five times as large, and a
	// server without streaming lists sends all of it at once.
	return &Cache{metadatainformer.NewFilteredMetadataInformer(client, corev1.SchemeGroupVersion.WithResource("nodes"),
		metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()}
}

// Handle sets the handler. Call it once, before Run.
func (c *Cache) Handle(handler Handler) error {
	if err := c.informer.SetTransform(trim); err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	if _, err := c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { handler.NodeAdded(object.(*Node)) },
		UpdateFunc: func(before, object any) { handler.NodeUpdated(before.(*Node), object.(*Node)) },
		DeleteFunc: func(object any) {
			if last, missed := object.(cache.DeletedFinalStateUnknown); missed {
				object = last.Obj
			}
			if node, known := object.(*Node); known {
				handler.NodeDeleted(node)
			}
		},
	}); err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	return nil
}

// Run watches until ctx ends.
func (c *Cache) Run(ctx context.Context) { c.informer.RunWithContext(ctx) }

// AwaitSync waits for the first list of Nodes.
func (c *Cache) AwaitSync(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), c.informer.HasSynced) {
		return fmt.Errorf("listing nodes for the first time: %w", context.Cause(ctx))
	}
	return nil
}

// Synced reports whether the Nodes were listed for the first time.
func (c *Cache) Synced() bool { return c.informer.HasSynced() }

// Get returns the Node of that name, or nil.
func (c *Cache) Get(name string) *Node {
	object, found, err := c.Store().GetByKey(name)
	if err != nil || !found {
		return nil // GetByKey of a thread-safe store never fails.
	}
	return object.(*Node)
}

// Has reports whether the cache has the Node, of that UID.
func (c *Cache) Has(node metav1.Object) bool {
	current := c.Get(node.GetName())
	return current != nil && current.UID == node.GetUID()
}

// List returns all Nodes.
func (c *Cache) List() []*Node {
	objects := c.Store().List()
	nodes := make([]*Node, 0, len(objects))
	for _, object := range objects {
		nodes = append(nodes, object.(*Node))
	}
	return nodes
}

// UIDs returns the UIDs of all Nodes.
func (c *Cache) UIDs() sets.Set[types.UID] {
	uids := sets.New[types.UID]()
	for _, node := range c.List() {
		uids.Insert(node.UID)
	}
	return uids
}

// Names returns the names of all Nodes.
func (c *Cache) Names() []string { return c.Store().ListKeys() }

// Store returns what the watch writes to.
func (c *Cache) Store() cache.Store { return c.informer.GetStore() }

// trim keeps of a Node's metadata what the agent decides by, before the informer stores it.
// Thousands of Nodes have the same label keys, which are stored once.
func trim(object any) (any, error) {
	node, is := object.(*Node)
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
	return &Node{ObjectMeta: metav1.ObjectMeta{
		Name:              node.Name,
		UID:               node.UID,
		ResourceVersion:   node.ResourceVersion,
		Labels:            labels,
		Annotations:       annotations,
		Finalizers:        node.Finalizers,
		DeletionTimestamp: node.DeletionTimestamp,
	}}, nil
}
