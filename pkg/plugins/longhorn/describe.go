package longhorn

import (
	"context"
	"fmt"
	"strings"
)

// named is the number of items that a text names.
const named = 3

// describe names the remaining items, with the reason why Longhorn does not move them, if it gives one. It returns "" if there
// are none.
func (p *plugin) describe(ctx context.Context, held *holding, remaining []item) (string, error) {
	if len(remaining) == 0 {
		return "", nil
	}
	some := remaining[:min(named, len(remaining))]
	var names []string
	for _, one := range some {
		if one.volume != "" {
			names = append(names, one.volume)
		}
	}
	volumes, err := p.api.volumes(ctx, names)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, one := range some {
		text := one.text(volumes[one.volume])
		if one.counted && one.kind != ofShard {
			text += ", healthy on " + otherNodes(one.elsewhere)
		}
		if trouble := trouble(volumes[one.volume]); trouble != "" {
			text += ", " + trouble
		}
		texts = append(texts, text)
	}
	if len(remaining) > named {
		texts = append(texts, "…")
	}
	text := fmt.Sprintf("node %s still has %s: %s", held.node.Metadata.Name, held, strings.Join(texts, "; "))
	if !held.node.ready() {
		text += ". " + unready(held.node) + ". Next: " + p.repair()
	}
	return text, nil
}

// text returns "replica of volume pvc-1 (claim shop/data)".
func (i item) text(of *volume) string {
	switch {
	case i.volume == "":
		return string(i.kind) + " " + i.name
	case of == nil || of.Status.KubernetesStatus.PVCName == "":
		return fmt.Sprintf("%s of volume %s", i.kind, i.volume)
	}
	return fmt.Sprintf("%s of volume %s (claim %s/%s)", i.kind, i.volume, of.Status.KubernetesStatus.Namespace, of.Status.KubernetesStatus.PVCName)
}

// trouble returns why Longhorn cannot copy the volume to another node, "" if it reports no reason.
func trouble(of *volume) string {
	if of == nil {
		return ""
	}
	if of.Status.Robustness == robustnessFaulted {
		return "the volume is faulted: it has no healthy replica"
	}
	if scheduled := conditionOf(of.Status.Conditions, conditionScheduled); scheduled.Status == "False" {
		reason := scheduled.Message
		if reason == "" {
			reason = scheduled.Reason
		}
		return "Longhorn finds no other node for it: " + reason
	}
	return ""
}

// unready describes why nothing is moved away from a node that is not ready: see shouldEvictReplica in
// https://github.com/longhorn/longhorn-manager/blob/master/controller/node_controller.go.
func unready(of *node) string {
	text := "Longhorn moves no data from this node, because it is not ready"
	if reason := conditionOf(of.Status.Conditions, conditionReady).Reason; reason != "" {
		text += " (" + reason + ")"
	}
	return text
}

// repair returns what an operator can do about a host that is down.
func (p *plugin) repair() string {
	if p.HealthyElsewhere == 0 {
		return "repair the host, or set the option healthyElsewhere"
	}
	return "repair the host, or restore or delete the volumes"
}

func otherNodes(number int) string {
	if number == 1 {
		return "1 other node"
	}
	return fmt.Sprintf("%d other nodes", number)
}
