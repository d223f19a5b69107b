package drain

import (
	"sync"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
)

// disruptions counts the evictions in flight for each budget, over all Nodes. When a budget allows
// a disruption, the drain of every Node sees it. Without the count, each would request an eviction,
// and the API server would refuse most.
type disruptions struct {
	mutex    sync.Mutex
	inFlight map[types.UID]int
}

// tryReserve counts one more eviction that uses the budgets, if each of them allows one more.
func (d *disruptions) tryReserve(budgets []*policyv1.PodDisruptionBudget) bool {
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

// reserve counts one more, whatever the budgets allow.
func (d *disruptions) reserve(budgets []*policyv1.PodDisruptionBudget) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.add(budgets, 1)
}

// release counts one less.
func (d *disruptions) release(budgets []*policyv1.PodDisruptionBudget) {
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
