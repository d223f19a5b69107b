package drain

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// budgets watches the PodDisruptionBudgets of the namespaces in which evictions were refused, so
// that the drain requests the next eviction as soon as a budget allows one, and none before.
// Without the right to watch them, the drain retries by backoff.
type budgets struct {
	client rest.Interface
	log    *slog.Logger
	// changed receives a value after each change, also when a watch fails or recovers.
	changed chan struct{}

	mutex sync.Mutex
	// namespaces that are watched.
	namespaces map[string]*followedBudgets
	// denied: the right to watch budgets is missing, so no watch is tried again.
	denied bool
}

// followedBudgets are the budgets of one namespace.
type followedBudgets struct {
	follower *follower
	stop     context.CancelFunc
	// store is nil until the first list has arrived.
	store cache.Store
}

// cacheState is the state of the cache of a namespace's budgets.
type cacheState int

const (
	// notWatched: the drain does not watch them, or cannot at present.
	notWatched cacheState = iota
	// syncing: the first list has not arrived.
	syncing
	// synced: the cache is complete.
	synced
)

func newBudgets(client rest.Interface, log *slog.Logger) *budgets {
	return &budgets{client: client, log: log, changed: make(chan struct{}, 1), namespaces: map[string]*followedBudgets{}}
}

// follow starts to watch the budgets of a namespace, unless it does so already. It does not block.
func (b *budgets) follow(ctx context.Context, namespace string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.denied || b.namespaces[namespace] != nil {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	followed := &followedBudgets{follower: &follower{changed: b.changed}, stop: stop}
	b.namespaces[namespace] = followed
	go func() {
		store, err := followed.follower.follow(ctx, selection{
			client: b.client, resource: "poddisruptionbudgets", kind: &policyv1.PodDisruptionBudget{}, namespace: namespace,
		})
		b.listed(namespace, followed, store, err)
	}()
}

// listed records the first list, or why there is none.
func (b *budgets) listed(namespace string, followed *followedBudgets, store cache.Store, err error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	defer followed.follower.notify()
	if followed.store = store; err == nil || b.namespaces[namespace] != followed {
		return // keep may have stopped it.
	}
	followed.stop()
	delete(b.namespaces, namespace) // The next refused eviction starts it again.
	b.denied = b.denied || apierrors.IsForbidden(err)
	b.log.Info("cannot watch budgets, retrying blocked evictions by backoff", "namespace", namespace, "error", err)
}

// keep stops watching the budgets of all other namespaces.
func (b *budgets) keep(namespaces map[string]bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	maps.DeleteFunc(b.namespaces, func(namespace string, followed *followedBudgets) bool {
		if !namespaces[namespace] {
			followed.stop()
		}
		return !namespaces[namespace]
	})
}

// of returns the budgets that an eviction of the Pod would use, sorted by name, and the state of the
// cache.
func (b *budgets) of(pod *corev1.Pod) ([]*policyv1.PodDisruptionBudget, cacheState) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	followed := b.namespaces[pod.Namespace]
	if followed == nil {
		return nil, notWatched
	}
	if outage, _ := followed.follower.outage(); outage != nil {
		return nil, notWatched
	}
	if followed.store == nil {
		return nil, syncing
	}
	var used []*policyv1.PodDisruptionBudget
	for _, object := range followed.store.List() {
		if budget := object.(*policyv1.PodDisruptionBudget); pods.UsesBudget(pod, *budget) {
			used = append(used, budget)
		}
	}
	slices.SortFunc(used, func(a, b *policyv1.PodDisruptionBudget) int { return strings.Compare(a.Name, b.Name) })
	return used, synced
}

// versionOf returns a text that changes with each change of the budgets. It is never empty: an empty
// text stands for budgets that are not known.
func versionOf(budgets []*policyv1.PodDisruptionBudget) string {
	versions := []string{"known"}
	for _, each := range budgets {
		versions = append(versions, each.Name+"/"+each.ResourceVersion)
	}
	return strings.Join(versions, " ")
}

// refusal returns why a budget allows no eviction at present, in the words of the API server
// (checkAndDecrement of pkg/registry/core/pod/storage/eviction.go), or "" if it allows one.
func refusal(budget *policyv1.PodDisruptionBudget) string {
	status := budget.Status
	failing := meta.FindStatusCondition(status.Conditions, policyv1.DisruptionAllowedCondition)
	if failing != nil && (failing.Status != metav1.ConditionFalse || failing.Message == "") {
		failing = nil
	}
	switch {
	case status.DisruptionsAllowed > 0:
		return ""
	case failing != nil && failing.Reason == policyv1.SyncFailedReason:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", budget.Name, failing.Message)
	case status.CurrentHealthy <= status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", budget.Name, status.DesiredHealthy, status.CurrentHealthy)
	case failing != nil:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", budget.Name, failing.Reason, failing.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", budget.Name)
}
