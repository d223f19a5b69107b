package portworx

import (
	"context"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/customresource"
)

// group is the API group of Portworx's operator.
const group = "core.libopenstorage.org"

// conditionKVDB is a condition of a StorageNode while the node is a member of the internal KVDB, see NodeKVDBCondition in
// https://github.com/libopenstorage/operator/blob/master/pkg/apis/core/v1/storagenode.go.
const conditionKVDB = "NodeKVDB"

// kvdbMember reports whether the StorageNode of a Node says that it is a member of the KVDB. A StorageNode that does not
// exist proves nothing else: the operator also deletes it while Portworx does not answer. Portworx itself refuses to remove
// a member.
func (p *plugin) kvdbMember(ctx context.Context, name string) (bool, error) {
	var found struct {
		Status struct {
			Conditions []struct {
				Type string `json:"type"`
			} `json:"conditions"`
		} `json:"status"`
	}
	request := p.kubernetes.CoreV1().RESTClient().Get().AbsPath("/apis", group, "v1", "namespaces", p.Namespace, "storagenodes", name)
	if err := customresource.Read(ctx, request, &found); api.Absent(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("reading storagenode %s/%s: %w", p.Namespace, name, err)
	}
	for _, one := range found.Status.Conditions {
		if one.Type == conditionKVDB {
			return true, nil
		}
	}
	return false, nil
}
