package drain

import (
	"sync"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
)

// disruptions counts the evictions in flight by the budget that they use, over all Nodes. When
// a budget opens, every Node with Pods of it is told; without the count, each would request an
// eviction, and all but a few would be refused.
type disruptions struct {
	mutex    sync.Mutex
	inFlight map[types.UID]int
}

// begin counts one more eviction that uses the budgets, if each of them allows one more.
func (d *disruptions) begin(budgets []*policyv1.PodDisruptionBudget) bool {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for _, budget := range budgets {
		if d.inFlight[budget.UID] >= int(budget.Status.DisruptionsAllowed) {
			return false
		}
	}
	d.add(budgets, 1)
	return true
}

// force counts one more, whatever the budgets allow.
func (d *disruptions) force(budgets []*policyv1.PodDisruptionBudget) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.add(budgets, 1)
}

// end counts one less.
func (d *disruptions) end(budgets []*policyv1.PodDisruptionBudget) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.add(budgets, -1)
}

func (d *disruptions) add(budgets []*policyv1.PodDisruptionBudget, change int) {
	if d.inFlight == nil {
		d.inFlight = map[types.UID]int{}
	}
	for _, budget := range budgets {
		if d.inFlight[budget.UID] += change; d.inFlight[budget.UID] == 0 {
			delete(d.inFlight, budget.UID)
		}
	}
}
