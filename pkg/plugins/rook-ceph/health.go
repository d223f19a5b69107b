package rookceph

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/customresource"
)

// cephGroup is the API group of Rook.
const cephGroup = "ceph.rook.io"

// cephHealth is what Rook's operator has last read from Ceph.
type cephHealth struct {
	Health  string `json:"health"`
	Details map[string]struct {
		Severity string `json:"severity"`
		Message  string `json:"message"`
	} `json:"details"`
}

// lastCopies are the health checks of Ceph that say that data is unavailable or has no complete copy: its OSDs may
// hold the last one. See https://docs.ceph.com/en/latest/rados/operations/health-checks/.
func lastCopies() []string {
	return []string{"OBJECT_UNFOUND", "PG_AVAILABILITY", "PG_DAMAGED", "PG_BACKFILL_FULL", "PG_RECOVERY_FULL", "OSD_FULL"}
}

// problem returns why the OSDs cannot be removed now, "" if nothing is known.
func (h cephHealth) problem() string {
	var problems []string
	for _, check := range slices.Sorted(maps.Keys(h.Details)) {
		if slices.Contains(lastCopies(), check) {
			problems = append(problems, fmt.Sprintf("%s (%s)", check, strings.Join(strings.Fields(h.Details[check].Message), " ")))
		}
	}
	return strings.Join(problems, ", ")
}

// health reads the health of the Ceph clusters in the namespace; Rook runs at most one.
func (p *plugin) health(ctx context.Context) (cephHealth, error) {
	var list struct {
		Items []struct {
			Status struct {
				Ceph cephHealth `json:"ceph"`
			} `json:"status"`
		} `json:"items"`
	}
	request := p.client.CoreV1().RESTClient().Get().AbsPath("/apis", cephGroup, "v1", "namespaces", p.Namespace, "cephclusters")
	if err := customresource.Read(ctx, request, &list); err != nil {
		return cephHealth{}, fmt.Errorf("reading the health of Ceph in namespace %s: %w", p.Namespace, err)
	}
	if len(list.Items) == 0 {
		return cephHealth{}, fmt.Errorf("namespace %s has no CephCluster", p.Namespace)
	}
	return list.Items[0].Status.Ceph, nil
}

// CheckHealth implements cleanup.HealthChecker: there is a CephCluster, the OSDs can be listed, and the API server
// would create the Jobs. It does not call Ceph, because that needs a Job.
func (p *plugin) CheckHealth(ctx context.Context) error {
	if _, err := p.health(ctx); err != nil {
		return err
	}
	if _, err := p.client.AppsV1().Deployments(p.Namespace).List(ctx, metav1.ListOptions{LabelSelector: osdSelector, Limit: 1}); err != nil {
		return fmt.Errorf("listing the deployments of OSDs in namespace %s: %w", p.Namespace, err)
	}
	runner, err := p.runs(evacuate, nil)
	if err != nil {
		return err
	}
	return runner.CheckHealth(ctx)
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	osds, err := p.list(ctx, target.Node)
	if err != nil || len(osds) == 0 {
		return nil, err
	}
	blocked, unchecked := p.blocker(ctx, target.Node)
	var effects []cleanup.Effect
	for _, one := range osds {
		effects = append(effects, cleanup.Effect{
			Action: "Remove", Object: cleanup.Object{Kind: "OSD", Namespace: p.Namespace, Name: one.name()}, UID: one.deployment.UID,
			Reason: "after Ceph has moved its data to other OSDs", Blocked: blocked, Unchecked: unchecked,
		})
	}
	return effects, nil
}

// blocker returns what keeps the OSDs of the Node from being removed now, nil if nothing is known, and why that could not
// be checked completely.
func (p *plugin) blocker(ctx context.Context, node *corev1.Node) (blocked *cleanup.Blocker, unchecked string) {
	if err := p.checkHost(ctx, node); cleanup.IsPermanent(err) {
		return &cleanup.Blocker{Cause: "Ambiguous", Message: err.Error()}, ""
	} else if err != nil {
		unchecked = err.Error()
	}
	health, err := p.health(ctx)
	if err != nil {
		return nil, err.Error()
	}
	problem := health.problem()
	if problem == "" {
		return nil, unchecked
	}
	return &cleanup.Blocker{
		Cause:   cleanup.BlockedByLastCopy,
		Message: "Ceph reports " + problem + ": this node may hold the last copy of data",
		Remedy:  "repair Ceph first, see `ceph health detail` in Rook's toolbox",
	}, unchecked
}
