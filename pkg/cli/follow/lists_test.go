package follow

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster/watchtest"
)

func TestNothingIsPrintedBeforeNodeAndRecordAreRead(t *testing.T) {
	node := node(true, api.Finalizer)
	record, err := api.EncodeRun("ours", &api.Run{Node: node.Name, NodeUID: node.UID, State: api.Running, Steps: []api.StepRun{{Name: "drain", State: api.StepRunning}}})
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string][]runtime.Object{"nodes": {node}, "configmaps": {record}}
	watchtest.DrawsOnlyCompleteLists(t, objects, func(ctx context.Context, client kubernetes.Interface, drawn func()) {
		follower := Follower{Client: client, Namespace: "ours", Say: func(string) { drawn() }, Now: time.Now}
		err := follower.Until(ctx, node, func(now Snapshot) (bool, error) {
			drawn()
			if now.Node == nil || now.Run == nil {
				t.Errorf("asked about %+v", now)
			}
			return false, nil
		})
		if Unfinished(err) == nil {
			t.Error(err)
		}
	})
}
