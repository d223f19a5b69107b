package drain_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// withoutTime returns the drain with a clock that stands still: no backoff ever ends.
func (f *fixture) withoutTime() cleanup.Plugin {
	f.Helper()
	client := kubernetes.NewForConfigOrDie(shared.RESTConfigFor(f.user, "system:masters"))
	plugin, faults := drain.Descriptor(client, clocktesting.NewFakeClock(time.Now()), nil).Bind(nil)
	if faults != nil {
		f.Fatal(faults)
	}
	return plugin
}

// evictions returns the requests of the drain by the code of their answer.
func (f *fixture) evictions() map[int]int {
	f.Helper()
	codes := map[int]int{}
	for _, event := range f.requests(func(event cluster.AuditEvent) bool { return event.Subresource == "eviction" }) {
		codes[event.Code]++
	}
	return codes
}

// The clock stands still, so only the watch of the budget can start the next attempt.
func TestEvictionIsRetriedWhenTheBudgetOpens(t *testing.T) {
	f := setUp(t)
	elsewhere := f.createNode(f.namespace + "-elsewhere")
	const pods = 8
	for i := range pods {
		f.pod(fmt.Sprintf("cart-%d", i), f.node, labelled("cart"))
	}
	f.budget("cart", pods)
	plugin := f.withoutTime()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- plugin.Cleanup(ctx, f.target()) }()
	f.eventually("every pod is said to be blocked by the budget", func(context.Context) (bool, error) {
		return f.said(fmt.Sprintf("8 pods remaining: %s/cart-0 and 7 more (The disruption budget cart needs 8 healthy pods and has 8 currently", f.namespace)), nil
	})
	refused := f.evictions()[http.StatusTooManyRequests]
	if refused == 0 || refused >= pods {
		t.Errorf("%d evictions were refused, want those of the first few pods", refused)
	}
	for i := range pods {
		f.pod(fmt.Sprintf("new-%d", i), elsewhere, labelled("cart"))
		f.eventually("the budget's next pod is evicted", func(context.Context) (bool, error) { return f.evictions()[http.StatusCreated] == i+1, nil })
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	// A decision on an older state of the budget may cost a request, but most cost none.
	if codes := f.evictions(); codes[http.StatusCreated] != pods || codes[http.StatusTooManyRequests] > refused+pods/2 {
		t.Errorf("evictions by code: %v, %d refused at the beginning", codes, refused)
	}
	watches := f.requests(func(event cluster.AuditEvent) bool {
		return event.Resource == "poddisruptionbudgets" && event.Stage == "ResponseStarted"
	})
	if len(watches) != 1 {
		t.Errorf("%d watches of budgets, want 1", len(watches))
	}
}

func TestDeletedBudgetUnblocksTheDrain(t *testing.T) {
	f := setUp(t)
	f.pod("cart-0", f.node, labelled("cart"))
	f.budget("cart", 1)
	plugin := f.withoutTime()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- plugin.Cleanup(ctx, f.target()) }()
	f.eventually("the drain waits for the budget", func(context.Context) (bool, error) { return f.said("/cart-0 (The disruption budget cart"), nil })
	if err := f.client.PolicyV1().PodDisruptionBudgets(f.namespace).Delete(t.Context(), "cart", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestUnblockedDrainReadsNoBudgets(t *testing.T) {
	f := setUp(t)
	f.pod("cart-0", f.node, labelled("cart"))
	f.budget("cart", 0)
	if err := f.drain(""); err != nil {
		t.Fatal(err)
	}
	if reads := f.requests(func(event cluster.AuditEvent) bool { return event.Resource == "poddisruptionbudgets" }); len(reads) != 0 {
		t.Errorf("requests: %v", reads)
	}
}

// Roles of an earlier install lack the right. The drain tries again by backoff then.
func TestDrainWorksWithoutTheRightToWatchBudgets(t *testing.T) {
	f := setUp(t)
	elsewhere := f.createNode(f.namespace + "-elsewhere")
	f.pod("cart-0", f.node, labelled("cart"))
	f.budget("cart", 1)
	f.allow(
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "watch", "patch"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods/eviction"}, Verbs: []string{"create"}},
	)
	client := kubernetes.NewForConfigOrDie(shared.RESTConfigFor(f.user))
	f.eventually("the user has its rights", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	})
	plugin, faults := drain.Descriptor(client, clock.RealClock{}, nil).Bind(nil)
	if faults != nil {
		t.Fatal(faults)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- plugin.Cleanup(ctx, f.target()) }()
	f.eventually("the drain waits for the budget", func(context.Context) (bool, error) { return f.said("/cart-0 (The disruption budget cart"), nil })
	f.pod("cart-1", elsewhere, labelled("cart"))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	asked := f.requests(func(event cluster.AuditEvent) bool {
		return event.Resource == "poddisruptionbudgets" && event.Stage == "ResponseComplete"
	})
	// An informer that may not stream a list asks for a list.
	if len(asked) != 2 || asked[0].Code != http.StatusForbidden || asked[1].Code != http.StatusForbidden {
		t.Errorf("requests about budgets: %v, want a watch and a list that are denied", asked)
	}
}

// allow grants the fixture's user rights in the whole cluster.
func (f *fixture) allow(rules ...rbacv1.PolicyRule) {
	f.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: f.user}, Rules: rules}
	if _, err := f.client.RbacV1().ClusterRoles().Create(f.Context(), role, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	if _, err := f.client.RbacV1().ClusterRoleBindings().Create(f.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: f.user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: f.user},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: f.user}},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}
