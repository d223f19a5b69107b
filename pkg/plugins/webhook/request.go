package webhook

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// request returns the request about a target. Its Outputs can be changed.
func (p *plugin) request(target cleanup.Target) webhookplugin.Request {
	outputs := maps.Clone(target.Outputs)
	if outputs == nil {
		outputs = map[string]map[string]string{}
	}
	return webhookplugin.Request{
		IdempotencyKey: target.IdempotencyKey,
		Attempt:        target.Attempt,
		Began:          target.Began.UTC(),
		Step:           target.Step,
		DeletedBy:      target.DeletedBy,
		Node:           describe(target.Node),
		Outputs:        outputs,
		Params:         p.params,
	}
}

// encode returns the body of a request. Its error is permanent: the same request is not encoded
// another time.
func encode(request webhookplugin.Request) ([]byte, error) {
	body, err := json.Marshal(request)
	if err == nil && len(body) > webhookplugin.MaxRequest {
		err = fmt.Errorf("it has %d bytes, the maximum is %d", len(body), webhookplugin.MaxRequest)
	}
	if err != nil {
		return nil, cleanup.Permanent(fmt.Errorf("encoding the request: %w", err))
	}
	return body, nil
}

// describe returns the fields of a Node that a service needs. The annotation of kubectl apply repeats
// them.
func describe(node *corev1.Node) webhookplugin.Node {
	annotations := maps.Clone(node.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	described := webhookplugin.Node{
		Name: node.Name, UID: string(node.UID), CreatedAt: node.CreationTimestamp.UTC(),
		Labels: node.Labels, Annotations: annotations,
		ProviderID: node.Spec.ProviderID, PodCIDRs: node.Spec.PodCIDRs, Unschedulable: node.Spec.Unschedulable,
		Info: webhookplugin.NodeInfo{
			MachineID: node.Status.NodeInfo.MachineID, SystemUUID: node.Status.NodeInfo.SystemUUID, BootID: node.Status.NodeInfo.BootID,
			Architecture: node.Status.NodeInfo.Architecture, OperatingSystem: node.Status.NodeInfo.OperatingSystem, OSImage: node.Status.NodeInfo.OSImage,
			KernelVersion: node.Status.NodeInfo.KernelVersion, KubeletVersion: node.Status.NodeInfo.KubeletVersion,
		},
	}
	if node.DeletionTimestamp != nil {
		deleted := node.DeletionTimestamp.UTC()
		described.DeletedAt = &deleted
	}
	for _, taint := range node.Spec.Taints {
		described.Taints = append(described.Taints, webhookplugin.Taint{Key: taint.Key, Value: taint.Value, Effect: string(taint.Effect)})
	}
	for _, address := range node.Status.Addresses {
		described.Addresses = append(described.Addresses, webhookplugin.Address{Type: string(address.Type), Address: address.Address})
	}
	return described
}
