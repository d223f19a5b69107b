package agentrights_test

import (
	"context"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	// storage is the namespace of Longhorn.
	storage = "longhorn-system"
	// longhornStep is a step for the Nodes with label longhorn.
	longhornStep = `- name: longhorn
  plugin: longhorn
  nodeSelector: {matchLabels: {longhorn: "true"}}
  options: {healthyElsewhere: 1, healthyElsewhereAfter: 0s}
`
)

// longhorn returns a resource of Longhorn.
func (s *scene) longhorn(resource string) dynamic.ResourceInterface {
	return dynamic.NewForConfigOrDie(s.server.RESTConfig()).Resource(schema.GroupVersionResource{Group: "longhorn.io", Version: "v1beta2", Resource: resource}).Namespace(storage)
}

// prepareLonghorn creates Longhorn's namespace and its CRDs.
func (s *scene) prepareLonghorn() {
	s.Helper()
	if _, err := s.client.CoreV1().Namespaces().Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: storage}}, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	crds := dynamic.NewForConfigOrDie(s.server.RESTConfig()).Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for resource, kind := range map[string]string{"nodes": "Node", "replicas": "Replica", "volumes": "Volume", "backingimages": "BackingImage", "shards": "Shard"} {
		_, err := crds.Create(s.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": resource + ".longhorn.io"},
			"spec": map[string]any{
				"group": "longhorn.io", "scope": "Namespaced",
				"names": map[string]any{"plural": resource, "singular": strings.ToLower(kind), "kind": kind, "listKind": kind + "List"},
				"versions": []any{map[string]any{
					"name": "v1beta2", "served": true, "storage": true,
					"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
				}},
			},
		}}, metav1.CreateOptions{})
		if err != nil {
			s.Fatal(err)
		}
		s.eventually(resource+" of Longhorn are served", func(ctx context.Context) (bool, error) {
			_, err := s.longhorn(resource).List(ctx, metav1.ListOptions{})
			return err == nil, nil
		})
	}
}

func (s *scene) createLonghorn(resource, kind, name string, more map[string]any) {
	s.Helper()
	object := map[string]any{"apiVersion": "longhorn.io/v1beta2", "kind": kind, "metadata": map[string]any{"name": name}}
	maps.Copy(object, more)
	if _, err := s.longhorn(resource).Create(s.Context(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

// evictReplicas has a Node with the last healthy replica of a volume, until there is another one.
func (s *scene) evictReplicas() {
	s.Helper()
	ctx := s.Context()
	labels := own()
	maps.Copy(labels, map[string]string{"longhorn": "true"})
	for _, name := range []string{"stored", "elsewhere"} {
		s.createLonghorn("nodes", "Node", name, map[string]any{"spec": map[string]any{"allowScheduling": true, "evictionRequested": false}, "status": map[string]any{
			"conditions": []any{map[string]any{"type": "Ready", "status": "True"}},
			"diskStatus": map[string]any{"disk": map[string]any{"diskUUID": name, "scheduledBackingImage": map[string]any{"ubuntu": int64(1)}}},
		}})
	}
	s.createLonghorn("backingimages", "BackingImage", "ubuntu", map[string]any{"status": map[string]any{"diskFileStatusMap": map[string]any{"elsewhere": map[string]any{"state": "ready"}}}})
	replica := func(name, node, healthyAt string) {
		s.createLonghorn("replicas", "Replica", name, map[string]any{
			"metadata": map[string]any{"name": name, "labels": map[string]any{"longhornnode": node, "longhornvolume": "pvc-1"}},
			"spec":     map[string]any{"nodeID": node, "volumeName": "pvc-1", "healthyAt": healthyAt},
		})
	}
	replica("r-1", "stored", "2026-01-31T04:00:00Z")
	replica("r-2", "elsewhere", "")
	if _, err := s.client.CoreV1().Nodes().Create(ctx, cluster.MakeNode("stored", labels), metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.eventually("node stored is protected", func(ctx context.Context) (bool, error) {
		node, err := s.client.CoreV1().Nodes().Get(ctx, "stored", metav1.GetOptions{})
		return err == nil && api.HasFinalizer(node), err
	})
	s.delete("stored")
	s.eventually("the step waits for a healthy replica elsewhere", func(ctx context.Context) (bool, error) {
		node, err := s.client.CoreV1().Nodes().Get(ctx, "stored", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		cleanup := api.CleanupConditionOf(node)
		return cleanup != nil && strings.Contains(cleanup.Message, "replica of volume pvc-1, healthy on 0 other nodes"), nil
	})
	healthy := []byte(`{"spec":{"healthyAt":"2026-01-31T04:00:00Z"}}`)
	if _, err := s.longhorn("replicas").Patch(ctx, "r-2", types.MergePatchType, healthy, metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
	s.isDeleted("stored")
}
