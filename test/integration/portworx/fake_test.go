package portworx_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const token = "canary-token"

// portworxFake is a Portworx cluster. Its answers have the form of
// https://github.com/libopenstorage/openstorage/blob/master/api/server/sdk/api/api.swagger.json, and it refuses what
// https://docs.portworx.com/portworx-enterprise/platform/uninstall/decommission-a-node says that Portworx refuses. No Portworx
// was available to compare it with.
type portworxFake struct {
	*testing.T
	gateway *httptest.Server

	mutex   sync.Mutex
	nodes   map[string]*pxNode
	volumes map[string]*pxVolume
	// status, if it is not 0, is the answer to each request.
	status int
	// noFailover: the KVDB does not get another member.
	noFailover bool
	// removed are the nodes that pxctl has removed.
	removed []string
}

type pxNode struct {
	name, status string
	kvdb, dead   bool
	// slow: Portworx has not yet reacted to the labels of the Node.
	slow bool
}

type pxVolume struct {
	snapshot bool
	// sets are the nodes with a copy of each part, and current those whose copy is current.
	sets, current [][]string
	// resync: Portworx copies a part.
	resync bool
	// frozen: Portworx does not change what it reports about the volume.
	frozen bool
}

func startPortworx(t *testing.T) *portworxFake {
	px := &portworxFake{T: t, nodes: map[string]*pxNode{}, volumes: map[string]*pxVolume{}}
	px.gateway = httptest.NewServer(px)
	t.Cleanup(px.gateway.Close)
	return px
}

// set changes the cluster.
func (px *portworxFake) set(change func()) {
	px.mutex.Lock()
	defer px.mutex.Unlock()
	change()
}

// volume adds a volume with one part that has current copies on these nodes.
func (px *portworxFake) volume(id string, nodes ...string) *pxVolume {
	v := &pxVolume{sets: [][]string{nodes}, current: [][]string{slices.Clone(nodes)}}
	px.set(func() { px.volumes[id] = v })
	return v
}

// ServeHTTP implements http.Handler: the REST gateway, with PX-Security.
func (px *portworxFake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	px.mutex.Lock()
	defer px.mutex.Unlock()
	answer := func(status int, document any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(document); err != nil {
			px.Error(err)
		}
	}
	failure := func(status, code int, text string) {
		answer(status, map[string]any{"error": text, "message": text, "code": code, "details": []string{}})
	}
	switch {
	case r.Method != http.MethodGet:
		px.Errorf("%s %s changes Portworx", r.Method, r.URL.Path)
		failure(http.StatusNotImplemented, 12, "Not Implemented")
	case px.status != 0:
		if px.status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "7")
		}
		failure(px.status, 14, "unavailable "+r.Header.Get("Authorization"))
	case r.Header.Get("Authorization") != "bearer "+token:
		failure(http.StatusUnauthorized, 16, "Access denied "+r.Header.Get("Authorization"))
	case r.URL.Path == "/v1/nodes":
		answer(http.StatusOK, map[string]any{"node_ids": slices.Sorted(maps.Keys(px.nodes))})
	case r.URL.Path == "/v1/volumes":
		answer(http.StatusOK, map[string]any{"volume_ids": px.ids(false)})
	case r.URL.Path == "/v1/volumes/snapshots":
		answer(http.StatusOK, map[string]any{"volume_snapshot_ids": px.ids(true)})
	case strings.HasPrefix(r.URL.Path, "/v1/nodes/inspect/") && px.nodes[strings.TrimPrefix(r.URL.Path, "/v1/nodes/inspect/")] != nil:
		id := strings.TrimPrefix(r.URL.Path, "/v1/nodes/inspect/")
		answer(http.StatusOK, map[string]any{"node": map[string]any{"id": id, "cpu": 0.5, "mem_total": "8363069440", "status": px.nodes[id].status, "data_ip": "10.0.0.1", "scheduler_node_name": px.nodes[id].name}})
	case strings.HasPrefix(r.URL.Path, "/v1/volumes/inspect/") && px.volumes[strings.TrimPrefix(r.URL.Path, "/v1/volumes/inspect/")] != nil:
		id := strings.TrimPrefix(r.URL.Path, "/v1/volumes/inspect/")
		answer(http.StatusOK, map[string]any{"volume": px.volumes[id].document(id), "name": "pvc-" + id, "labels": map[string]string{}})
	default:
		failure(http.StatusNotFound, 5, "Not Found")
	}
}

func (px *portworxFake) ids(snapshots bool) []string {
	ids := []string{}
	for _, id := range slices.Sorted(maps.Keys(px.volumes)) {
		if px.volumes[id].snapshot == snapshots {
			ids = append(ids, id)
		}
	}
	return ids
}

func (v *pxVolume) document(id string) map[string]any {
	var sets, states []any
	for i := range v.sets {
		state := "clean"
		if v.resync {
			state = "resync"
		}
		sets = append(sets, map[string]any{"nodes": v.sets[i]})
		states = append(states, map[string]any{"runtime_state": map[string]string{"ID": fmt.Sprint(i), "RuntimeState": state, "ReplicaSetCurrMid": strings.Join(v.current[i], ",")}})
	}
	return map[string]any{"id": id, "locator": map[string]any{"name": "pvc-" + id}, "usage": "33964032", "status": "VOLUME_STATUS_UP", "replica_sets": sets, "runtime_state": states}
}

// tick plays what Portworx does by itself: a KVDB member that is off is replaced, and copies become current again.
func (px *portworxFake) tick() {
	for _, id := range slices.Sorted(maps.Keys(px.nodes)) {
		if !px.nodes[id].kvdb || px.nodes[id].status != "STATUS_OFFLINE" || px.noFailover {
			continue
		}
		for _, other := range slices.Sorted(maps.Keys(px.nodes)) {
			if px.nodes[other].status == "STATUS_OK" && !px.nodes[other].kvdb {
				px.nodes[id].kvdb, px.nodes[other].kvdb = false, true
				break
			}
		}
	}
	for _, v := range px.volumes {
		for i, set := range v.sets {
			if v.frozen {
				continue
			}
			on := slices.DeleteFunc(slices.Clone(set), func(id string) bool { return px.nodes[id] == nil || px.nodes[id].status != "STATUS_OK" })
			switch {
			case len(on) > len(v.current[i]) && !v.resync:
				v.resync = true
			case len(on) <= len(v.current[i]) || v.resync:
				v.resync, v.current[i] = false, on
			}
		}
	}
}

// pxctl runs the command of a Pod. It returns its exit code and its last line.
func (px *portworxFake) pxctl(_ context.Context, pod *corev1.Pod) (code int32, message string) {
	container := pod.Spec.Containers[0]
	command := strings.Join(container.Command, " ")
	id, is := strings.CutPrefix(command, "nsenter -t 1 -m -u -i -n -p -- /opt/pwx/bin/pxctl cluster delete ")
	if security := container.SecurityContext; !is || !pod.Spec.HostPID || security == nil || security.Privileged == nil || !*security.Privileged {
		px.Errorf("the Pod runs %q, with hostPID %t", command, pod.Spec.HostPID)
		return 126, "Permission denied"
	}
	if affinity := pod.Spec.Affinity; len(affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution) != 1 || affinity.NodeAffinity == nil {
		px.Errorf("the Pod can run on any Node: %+v", affinity)
	}
	px.mutex.Lock()
	defer px.mutex.Unlock()
	node := px.nodes[id]
	refuse := func(reason string) (int32, string) {
		return 1, "Cannot remove node ID " + id + ": " + reason
	}
	switch {
	case node == nil:
		return refuse("node not found")
	case node.kvdb:
		return refuse("cannot remove this node since it is running kvdb.")
	case node.status == "STATUS_OK":
		px.Errorf("node %s is removed while it is online", id)
		return refuse("the node is online")
	}
	for name, v := range px.volumes {
		for i, set := range v.sets {
			if slices.Contains(set, id) && len(slices.DeleteFunc(slices.Clone(v.current[i]), func(one string) bool { return one == id })) == 0 {
				px.Errorf("node %s is removed although it has the last copy of volume %s", id, name)
				return refuse("volume " + name + " has no other replica")
			}
		}
	}
	for _, v := range px.volumes {
		for i := range v.sets {
			v.sets[i] = slices.DeleteFunc(v.sets[i], func(one string) bool { return one == id })
		}
	}
	delete(px.nodes, id)
	px.removed = append(px.removed, id)
	return 0, "Node " + id + " successfully deleted."
}
