package longhorn

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	nodecleanup "github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// kind of data on a node.
type kind string

const (
	ofReplica      kind = "replica"
	ofBackingImage kind = "backing image"
	ofShard        kind = "shard"
)

// kinds in the order of texts.
var kinds = []kind{ofReplica, ofBackingImage, ofShard}

// item is one piece of data on a node.
type item struct {
	kind kind
	name string
	uid  types.UID
	// volume of a replica, empty if it is not known.
	volume string
	// healthy: the replica is a healthy copy.
	healthy bool
	// counted: count has set the next fields.
	counted bool
	// elsewhere is the number of other Nodes with a healthy copy.
	elsewhere int
	// unused: no replica of the volume has ever held data, or the backing image is deleted.
	unused bool
	// room: another Node can take replicas, and has none of the volume.
	room bool
}

// holding is the data on a node.
type holding struct {
	node  *node
	items []item
}

// hold reads the data on a node. The status of a disk is not enough: Longhorn empties its list of replicas if the disk is
// not ready, and it does not list shards. The replicas alone are not enough either: the status also has the backing
// images, and confirms that Longhorn has finished. If the node is not ready, no program updates the status, so it is not asked
// for replicas that do not exist.
func (p *plugin) hold(ctx context.Context, of *node) (*holding, error) {
	replicas, err := p.api.replicasOn(ctx, of.Metadata.Name)
	if err != nil {
		return nil, err
	}
	shards, err := p.api.shardsOn(ctx, of.Metadata.Name)
	if err != nil {
		return nil, err
	}
	return newHolding(of, replicas, shards), nil
}

func newHolding(of *node, replicas []replica, shards []shard) *holding {
	h := &holding{node: of}
	byName := map[string]bool{}
	for _, one := range replicas {
		byName[one.Metadata.Name] = true
		h.items = append(h.items, item{kind: ofReplica, name: one.Metadata.Name, uid: one.Metadata.UID, volume: one.Spec.VolumeName, healthy: one.healthy()})
	}
	images := map[string]bool{}
	for _, disk := range of.Status.DiskStatus {
		for name := range disk.ScheduledReplica {
			if of.ready() && !byName[name] {
				byName[name] = true
				h.items = append(h.items, item{kind: ofReplica, name: name})
			}
		}
		for name := range disk.ScheduledBackingImage {
			images[name] = true
		}
	}
	for name := range images {
		h.items = append(h.items, item{kind: ofBackingImage, name: name})
	}
	for _, one := range shards {
		h.items = append(h.items, item{kind: ofShard, name: one.Metadata.Name, uid: one.Metadata.UID})
	}
	slices.SortFunc(h.items, func(a, b item) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, a.kind), slices.Index(kinds, b.kind)), cmp.Compare(a.name, b.name))
	})
	return h
}

// number returns how many items of the kind there are.
func (h *holding) number(of kind) int {
	number := 0
	for _, one := range h.items {
		if one.kind == of {
			number++
		}
	}
	return number
}

// count counts the copies of each item on other nodes.
func (p *plugin) count(ctx context.Context, h *holding) error {
	if len(h.items) == 0 {
		return nil
	}
	nodes, err := p.api.nodes(ctx)
	if err != nil {
		return err
	}
	others := usable(nodes, h.node.Metadata.Name)
	var volumes []string
	for _, one := range h.items {
		if one.volume != "" {
			volumes = append(volumes, one.volume)
		}
	}
	slices.Sort(volumes)
	replicas, err := p.api.replicasOf(ctx, slices.Compact(volumes))
	if err != nil {
		return err
	}
	for i := range h.items {
		one := &h.items[i]
		one.counted = true
		switch one.kind {
		case ofReplica:
			one.elsewhere, one.unused = copies(replicas[one.volume], others)
			one.room = room(replicas[one.volume], others)
		case ofBackingImage:
			var image backingImage
			err := p.api.get(ctx, "backingimages", one.name, &image)
			if one.unused = nodecleanup.Absent(err); err != nil && !one.unused {
				return err
			}
			one.elsewhere = imageCopies(image, others)
		}
	}
	return nil
}

// usable returns the other nodes whose copies count. If two nodes with the last two copies of a volume are cleaned up at the
// same time, neither counts for the other.
func usable(nodes map[string]*node, except string) map[string]*node {
	others := maps.Clone(nodes)
	maps.DeleteFunc(others, func(name string, one *node) bool { return name == except || !one.ready() || one.leaving() })
	return others
}

// copies returns on how many of the nodes a volume has a healthy replica, and whether none of its replicas has ever held
// data.
func copies(replicas []replica, others map[string]*node) (number int, unused bool) {
	counted := map[string]bool{}
	unused = len(replicas) > 0
	for _, one := range replicas {
		if others[one.Spec.NodeID] != nil && one.healthy() {
			counted[one.Spec.NodeID] = true
		}
		unused = unused && !one.used()
	}
	return len(counted), unused
}

// room reports whether one of the nodes can take replicas, and has none of the volume. Without one, Longhorn moves a replica
// only if its replica soft anti-affinity is enabled: see https://github.com/longhorn/longhorn/issues/12870.
func room(replicas []replica, others map[string]*node) bool {
	for name, one := range others {
		if one.Spec.AllowScheduling && !slices.ContainsFunc(replicas, func(r replica) bool { return r.Spec.NodeID == name }) {
			return true
		}
	}
	return false
}

// imageCopies returns on how many of the nodes a backing image is ready.
func imageCopies(image backingImage, others map[string]*node) int {
	number := 0
	for _, one := range others {
		for _, disk := range one.Status.DiskStatus {
			if disk.DiskUUID != "" && image.Status.DiskFileStatusMap[disk.DiskUUID].State == imageReady {
				number++
				break
			}
		}
	}
	return number
}

// mayStay reports whether the option lets the item stay on the node.
func (o options) mayStay(one item) bool {
	switch {
	case o.HealthyElsewhere == 0:
		return false
	case one.kind == ofReplica:
		return one.unused || one.elsewhere >= o.HealthyElsewhere
	case one.kind == ofBackingImage:
		return one.unused || one.elsewhere > 0
	}
	return false
}

// must returns the items that must not stay. The copies must have been counted.
func (o options) must(h *holding) []item {
	return slices.DeleteFunc(slices.Clone(h.items), o.mayStay)
}

// String returns "12 replicas and 1 backing image".
func (h *holding) String() string {
	var parts []string
	for _, each := range kinds {
		switch number := h.number(each); number {
		case 0:
		case 1:
			parts = append(parts, "1 "+string(each))
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", number, each))
		}
	}
	switch len(parts) {
	case 0:
		return "nothing"
	case 3:
		return parts[0] + ", " + parts[1] + " and " + parts[2]
	case 2:
		return parts[0] + " and " + parts[1]
	}
	return parts[0]
}
