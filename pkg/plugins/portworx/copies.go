package portworx

import (
	"fmt"
	"slices"
	"strings"
)

// Keys of the runtime state of a replica set, and its value while all copies are the same. See
// https://docs.portworx.com/portworx-enterprise/reference/cli/volume and GetReplicationInfo in
// https://github.com/portworx/pxc/blob/master/pkg/portworx/volume.go.
const (
	keyState    = "RuntimeState"
	keyCurrent  = "ReplicaSetCurrMid"
	cleanVolume = "clean"
)

// has reports whether a node has a copy of a part of the volume.
func (v volume) has(id string) bool {
	for _, set := range v.ReplicaSets {
		if slices.Contains(set.Nodes, id) {
			return true
		}
	}
	return false
}

// state returns the runtime state of the replica set with that index, nil if it is not known.
func (v volume) state(index int) map[string]string {
	if len(v.RuntimeState) != len(v.ReplicaSets) {
		return nil
	}
	return v.RuntimeState[index].RuntimeState
}

// lastCopy reports whether a node has the only usable copy of a part of the volume: no other node has a current copy and
// is usable. What is not known is not usable.
func (v volume) lastCopy(id string, usable map[string]bool) bool {
	for i, set := range v.ReplicaSets {
		if !slices.Contains(set.Nodes, id) {
			continue
		}
		current := strings.Split(v.state(i)[keyCurrent], ",")
		elsewhere := func(other string) bool { return other != id && usable[other] && slices.Contains(current, other) }
		if !slices.ContainsFunc(set.Nodes, elsewhere) {
			return true
		}
	}
	return false
}

// unclean returns the state of the first replica set that is not clean, "" if all are clean.
func (v volume) unclean() string {
	for i := range v.ReplicaSets {
		if state := v.state(i)[keyState]; state != cleanVolume {
			if state == "" {
				return "unknown"
			}
			return state
		}
	}
	return ""
}

// String returns the name and the id of a volume.
func (v volume) String() string { return v.Locator.Name + " (" + v.ID + ")" }

// holding is the data of a node.
type holding struct {
	// last are the volumes whose last copy the node has, and unclean those that Portworx still copies.
	last, unclean []string
	volumes       int
}

// add adds a volume that has a copy on the node.
func (h *holding) add(v volume, id string, usable map[string]bool) {
	h.volumes++
	if v.lastCopy(id, usable) {
		h.last = append(h.last, v.String())
	}
	if state := v.unclean(); state != "" {
		h.unclean = append(h.unclean, v.String()+" is "+state)
	}
}

// join names at most five things.
func join(names []string) string {
	const most = 5
	text := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
