package longhorn

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	nodecleanup "github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/customresource"
)

// api reads and patches Longhorn's objects.
type api struct {
	client    kubernetes.Interface
	namespace string
}

const group = "longhorn.io"

// pageSize is the maximum number of objects in one answer of the API server, so that the agent's memory does not grow with
// the number of volumes.
const pageSize = 250

// volumesPerRequest limits the length of a URL. A name has about 40 characters.
const volumesPerRequest = 50

// The labels by which Longhorn itself finds replicas, see getNodeSelector and getVolumeSelector in
// https://github.com/longhorn/longhorn-manager/blob/master/datastore/longhorn.go.
const (
	labelNode   = "longhornnode"
	labelVolume = "longhornvolume"
)

// request addresses a resource, and one object of it if there is a name.
func (a api) request(request *rest.Request, resource, name string) *rest.Request {
	path := []string{"/apis/" + group + "/v1beta2/namespaces", a.namespace, resource}
	if name != "" {
		path = append(path, name)
	}
	return request.AbsPath(path...)
}

func (a api) get(ctx context.Context, resource, name string, into any) error {
	if err := customresource.Read(ctx, a.request(a.client.CoreV1().RESTClient().Get(), resource, name), into); err != nil {
		return fmt.Errorf("reading %s.longhorn.io %s/%s: %w", resource, a.namespace, name, err)
	}
	return nil
}

// each calls its function for each object with the labels, or for all objects.
func each[T any](ctx context.Context, a api, resource, selector string, found func(T)) error {
	for token := ""; ; {
		request := a.request(a.client.CoreV1().RESTClient().Get(), resource, "").Param("limit", fmt.Sprint(pageSize))
		if selector != "" {
			request = request.Param("labelSelector", selector)
		}
		if token != "" {
			request = request.Param("continue", token)
		}
		var page list[T]
		if err := customresource.Read(ctx, request, &page); err != nil {
			return fmt.Errorf("listing %s.longhorn.io in namespace %s: %w", resource, a.namespace, err)
		}
		for _, item := range page.Items {
			found(item)
		}
		if token = page.Metadata.Continue; token == "" {
			return nil
		}
	}
}

// some reports whether the namespace has an object of the resource.
func (a api) some(ctx context.Context, resource string) (bool, error) {
	var page list[struct{}]
	if err := customresource.Read(ctx, a.request(a.client.CoreV1().RESTClient().Get(), resource, "").Param("limit", "1"), &page); err != nil {
		return false, fmt.Errorf("listing %s.longhorn.io in namespace %s: %w", resource, a.namespace, err)
	}
	return len(page.Items) > 0, nil
}

func (a api) node(ctx context.Context, name string) (*node, error) {
	found := &node{}
	return found, a.get(ctx, "nodes", name, found)
}

// patch changes a node by a JSON merge patch.
func (a api) patch(ctx context.Context, name string, patch any) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	if err := a.request(a.client.CoreV1().RESTClient().Patch(types.MergePatchType), "nodes", name).Body(data).Do(ctx).Error(); err != nil {
		return fmt.Errorf("patching nodes.longhorn.io %s/%s: %w", a.namespace, name, err)
	}
	return nil
}

// nodes returns all nodes by name.
func (a api) nodes(ctx context.Context) (map[string]*node, error) {
	nodes := map[string]*node{}
	return nodes, each(ctx, a, "nodes", "", func(one node) { nodes[one.Metadata.Name] = &one })
}

// replicasOn returns the replicas on a node.
func (a api) replicasOn(ctx context.Context, name string) ([]replica, error) {
	var replicas []replica
	return replicas, each(ctx, a, "replicas", labelNode+"="+name, func(one replica) {
		if one.Spec.NodeID == name {
			replicas = append(replicas, one)
		}
	})
}

// replicasOf returns the replicas of volumes, by volume.
func (a api) replicasOf(ctx context.Context, volumes []string) (map[string][]replica, error) {
	replicas := map[string][]replica{}
	for len(volumes) > 0 {
		some := volumes[:min(volumesPerRequest, len(volumes))]
		volumes = volumes[len(some):]
		err := each(ctx, a, "replicas", labelVolume+" in ("+strings.Join(some, ",")+")", func(one replica) {
			replicas[one.Spec.VolumeName] = append(replicas[one.Spec.VolumeName], one)
		})
		if err != nil {
			return nil, err
		}
	}
	return replicas, nil
}

// shardsOn returns the shards on a node. Longhorn before 1.13 does not serve them.
func (a api) shardsOn(ctx context.Context, name string) ([]shard, error) {
	var shards []shard
	err := each(ctx, a, "shards", labelNode+"="+name, func(one shard) {
		if one.Spec.NodeID == name {
			shards = append(shards, one)
		}
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return shards, err
}

// volumes returns the volumes of that name that exist.
func (a api) volumes(ctx context.Context, names []string) (map[string]*volume, error) {
	volumes := map[string]*volume{}
	for _, name := range names {
		found := &volume{}
		switch err := a.get(ctx, "volumes", name, found); {
		case nodecleanup.Absent(err):
		case err != nil:
			return nil, err
		default:
			volumes[name] = found
		}
	}
	return volumes, nil
}
