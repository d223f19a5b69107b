package portworx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// sdk reads from the REST gateway of Portworx's SDK. The types have the fields that the plugin uses of
// https://github.com/libopenstorage/openstorage/blob/master/api/server/sdk/api/api.swagger.json.
type sdk struct{ api *httpclient.API }

func newSDK(o options, client *http.Client, secrets cleanup.Secrets) sdk {
	api := &httpclient.API{System: "Portworx", URL: o.URL, Client: client, Secrets: secrets, TLS: httpclient.TLS{CABundle: o.CABundle}}
	if !o.Token.Empty() {
		api.Credentials = httpclient.Header(secrets, "Authorization", "bearer ", o.Token)
	}
	return sdk{api}
}

// offline reports whether the program calls no other system.
func (s sdk) offline() bool { return s.api.Client == nil || httpclient.IsOffline(s.api.Client) }

// The states of a node that the plugin distinguishes.
const (
	statusOK             = "STATUS_OK"
	statusOffline        = "STATUS_OFFLINE"
	statusDecommissioned = "STATUS_DECOMMISSION"
)

// node is a node of the Portworx cluster.
type node struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	DataIP   string `json:"data_ip"`
	MgmtIP   string `json:"mgmt_ip"`
	Hostname string `json:"hostname"`
	// SchedulerNodeName is the name of the Kubernetes Node. It is empty if Portworx could not find it out.
	SchedulerNodeName string `json:"scheduler_node_name"`
}

// nodes returns all nodes of the cluster.
func (s sdk) nodes(ctx context.Context) ([]node, error) {
	var list struct {
		IDs []string `json:"node_ids"`
	}
	if err := s.api.Call(ctx, http.MethodGet, "v1/nodes", nil, &list); err != nil {
		return nil, err
	}
	if len(list.IDs) == 0 { // Portworx itself needs a node to answer.
		return nil, errors.New("GET v1/nodes: the answer of Portworx has no nodes")
	}
	var all []node
	for _, id := range list.IDs {
		var answer struct {
			Node node `json:"node"`
		}
		err := s.api.Call(ctx, http.MethodGet, "v1/nodes/inspect/"+url.PathEscape(id), nil, &answer)
		switch {
		case httpclient.StatusCode(err) == http.StatusNotFound: // It was removed in the meantime.
		case err != nil:
			return nil, err
		case answer.Node.ID != id:
			return nil, fmt.Errorf("GET v1/nodes/inspect: Portworx was asked for node %s and answers with %q", id, answer.Node.ID)
		default:
			all = append(all, answer.Node)
		}
	}
	return all, nil
}

// volume is a volume with its copies.
type volume struct {
	ID      string `json:"id"`
	Locator struct {
		Name string `json:"name"`
	} `json:"locator"`
	// ReplicaSets are the parts of an aggregated volume; others have one. Each part has its copies.
	ReplicaSets []struct {
		Nodes []string `json:"nodes"`
	} `json:"replica_sets"`
	// RuntimeState describes the replica set with the same index.
	RuntimeState []struct {
		RuntimeState map[string]string `json:"runtime_state"`
	} `json:"runtime_state"`
}

// volumes calls its function for each volume. It reads them one by one: a list of some hundred volumes is larger than
// the maximum size of an answer.
func (s sdk) volumes(ctx context.Context, found func(volume)) error {
	ids, err := s.volumeIDs(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		one, err := s.volume(ctx, id)
		if err != nil {
			return err
		}
		if one != nil {
			found(*one)
		}
	}
	return nil
}

// volumeIDs returns the ids of all volumes and of all snapshots, which have copies of their own.
func (s sdk) volumeIDs(ctx context.Context) ([]string, error) {
	var list struct {
		Volumes   []string `json:"volume_ids"`
		Snapshots []string `json:"volume_snapshot_ids"`
	}
	for _, path := range []string{"v1/volumes", "v1/volumes/snapshots"} {
		if err := s.api.Call(ctx, http.MethodGet, path, nil, &list); err != nil {
			return nil, err
		}
	}
	ids := slices.Concat(list.Volumes, list.Snapshots)
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// volume returns a volume, nil if it does not exist.
func (s sdk) volume(ctx context.Context, id string) (*volume, error) {
	var answer struct {
		Volume volume `json:"volume"`
	}
	err := s.api.Call(ctx, http.MethodGet, "v1/volumes/inspect/"+url.PathEscape(id), nil, &answer)
	switch {
	case httpclient.StatusCode(err) == http.StatusNotFound:
		return nil, nil
	case err != nil:
		return nil, err
	case answer.Volume.ID != id:
		return nil, fmt.Errorf("GET v1/volumes/inspect: Portworx was asked for volume %s and answers with %q", id, answer.Volume.ID)
	}
	return &answer.Volume, nil
}
