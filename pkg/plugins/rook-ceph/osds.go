package rookceph

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// What Rook writes on the Deployment of an OSD, see getOSDLabels and makeDeployment in
// https://github.com/rook/rook/tree/master/pkg/operator/ceph/cluster/osd.
const (
	osdSelector   = "app=rook-ceph-osd"
	labelID       = "ceph-osd-id"
	labelPortable = "portable"
	labelHost     = "topology-location-host"
	variableUUID  = "ROOK_OSD_UUID"
	osdContainer  = "osd"
	// labelUnmanaged makes Rook's operator ignore the Deployment. Without it, the operator scales it up again.
	labelUnmanaged = "ceph.rook.io/do-not-reconcile"
)

// annotationCleanup is on the Deployments of the OSDs that a cleanup removes: its idempotency key.
const annotationCleanup = "nodecleanup.io/cleanup"

// osd is one OSD of the Node.
type osd struct {
	id int
	// uuid identifies the OSD. Ceph gives a free id to the next new OSD.
	uuid string
	// host is the name of the Node in the CRUSH map.
	host       string
	image      string
	deployment *appsv1.Deployment
}

func (o osd) name() string { return fmt.Sprintf("osd.%d", o.id) }

// osdUUID is the form of the UUID of an OSD.
var osdUUID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// find returns the OSDs of the Node, sorted by id. The error is permanent if they may be those of another Node.
func (p *plugin) find(ctx context.Context, node *corev1.Node) ([]osd, error) {
	found, err := p.list(ctx, node)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found, p.checkHost(ctx, node)
}

// list returns the OSDs that can run only on a Node with the hostname of this one, sorted by id. It leaves out portable
// OSDs, which Rook moves to another Node together with their volume.
func (p *plugin) list(ctx context.Context, node *corev1.Node) ([]osd, error) {
	list, err := p.client.AppsV1().Deployments(p.Namespace).List(ctx, metav1.ListOptions{LabelSelector: osdSelector})
	if err != nil {
		return nil, fmt.Errorf("listing the deployments of OSDs in namespace %s: %w", p.Namespace, err)
	}
	host := hostname(node)
	var found []osd
	for i := range list.Items {
		deployment := &list.Items[i]
		if deployment.Labels[labelPortable] == "true" || deployment.Spec.Template.Spec.NodeSelector[corev1.LabelHostname] != host {
			continue
		}
		one, err := osdOf(deployment)
		if err != nil {
			return nil, fmt.Errorf("deployment %s/%s: %w", deployment.Namespace, deployment.Name, err)
		}
		found = append(found, one)
	}
	slices.SortFunc(found, func(a, b osd) int { return cmp.Compare(a.id, b.id) })
	return found, nil
}

// osdOf reads the OSD of a Deployment.
func osdOf(deployment *appsv1.Deployment) (osd, error) {
	one := osd{host: deployment.Labels[labelHost], deployment: deployment}
	var err error
	if one.id, err = strconv.Atoi(deployment.Labels[labelID]); err != nil || one.id < 0 {
		return osd{}, fmt.Errorf("label %s is %q, not the id of an OSD", labelID, deployment.Labels[labelID])
	}
	for _, container := range deployment.Spec.Template.Spec.Containers {
		if container.Name != osdContainer {
			continue
		}
		one.image = container.Image
		for _, variable := range container.Env {
			if variable.Name == variableUUID {
				one.uuid = variable.Value
			}
		}
	}
	if !osdUUID.MatchString(one.uuid) {
		return osd{}, fmt.Errorf("container %s has no variable %s with the UUID of the OSD", osdContainer, variableUUID)
	}
	if one.host == "" {
		return osd{}, fmt.Errorf("label %s is missing", labelHost)
	}
	return one, nil
}

// describe returns "osd.3, osd.7".
func describe(osds []osd) string {
	var names []string
	for _, one := range osds {
		names = append(names, one.name())
	}
	return strings.Join(names, ", ")
}

// marked returns the OSDs that the cleanup with that key has begun to remove.
func marked(osds []osd, key string) []osd {
	return slices.DeleteFunc(slices.Clone(osds), func(one osd) bool {
		return one.deployment.Annotations[annotationCleanup] != key
	})
}

// patch changes the Deployment of an OSD, unless it was replaced in the meantime.
func (p *plugin) patch(ctx context.Context, one osd, metadata map[string]any, spec map[string]any) error {
	metadata["uid"] = one.deployment.UID
	change := map[string]any{"metadata": metadata}
	if spec != nil {
		change["spec"] = spec
	}
	data, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encoding the change of deployment %s: %w", one.deployment.Name, err)
	}
	_, err = p.client.AppsV1().Deployments(p.Namespace).Patch(ctx, one.deployment.Name, types.MergePatchType, data, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("changing deployment %s/%s: %w", p.Namespace, one.deployment.Name, err)
	}
	return nil
}

// mark records on the Deployments that the cleanup begins. Withdraw undoes only what is marked.
func (p *plugin) mark(ctx context.Context, osds []osd, key string) error {
	for _, one := range osds {
		if one.deployment.Annotations[annotationCleanup] == key {
			continue
		}
		if err := p.patch(ctx, one, map[string]any{"annotations": map[string]any{annotationCleanup: key}}, nil); err != nil {
			return err
		}
	}
	return nil
}

// stop scales the Deployments to zero, and makes Rook leave them so.
func (p *plugin) stop(ctx context.Context, osds []osd) error {
	for _, one := range osds {
		err := p.patch(ctx, one, map[string]any{"labels": map[string]any{labelUnmanaged: "true"}}, map[string]any{"replicas": 0})
		if err != nil {
			return err
		}
	}
	return nil
}

// start undoes mark and stop.
func (p *plugin) start(ctx context.Context, osds []osd) error {
	for _, one := range osds {
		metadata := map[string]any{"annotations": map[string]any{annotationCleanup: nil}}
		var spec map[string]any
		if replicas := one.deployment.Spec.Replicas; replicas != nil && *replicas == 0 {
			metadata["labels"], spec = map[string]any{labelUnmanaged: nil}, map[string]any{"replicas": 1}
		}
		if err := p.patch(ctx, one, metadata, spec); err != nil {
			return err
		}
	}
	return nil
}

// forget deletes the Deployments.
func (p *plugin) forget(ctx context.Context, osds []osd) error {
	for _, one := range osds {
		err := p.client.AppsV1().Deployments(p.Namespace).Delete(ctx, one.deployment.Name, metav1.DeleteOptions{
			Preconditions: metav1.NewUIDPreconditions(string(one.deployment.UID)),
		})
		if err != nil && !api.Absent(err) {
			return fmt.Errorf("deleting deployment %s/%s: %w", p.Namespace, one.deployment.Name, err)
		}
	}
	return nil
}
