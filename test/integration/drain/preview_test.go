package drain_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
)

func TestPreviewReturnsEffectsAndBudgetsAndChangesNothing(t *testing.T) {
	f := setUp(t)
	uids := map[string]types.UID{
		"cart":    f.pod("cart", f.node).UID,
		"scratch": f.pod("scratch", f.node, emptyDir).UID,
		"web":     f.pod("web", f.node).UID,
		"daemon":  f.pod("daemon", f.node, daemonSet).UID,
		"alone":   f.pod("alone", f.node, unmanaged).UID,
		"refused": f.pod("refused", f.node).UID,
	}
	f.budget("cart", 1)
	f.budgetFor("refused", "refused", 0)
	f.budgetFor("refused-too", "refused", 0)
	effects, err := f.plugin("").(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil {
		t.Fatal(err)
	}
	on := func(name string) cleanup.Object {
		return cleanup.Object{Kind: cleanup.KindPod, Namespace: f.namespace, Name: name}
	}
	want := []cleanup.Effect{
		{Action: cleanup.Cordon, Object: cleanup.Object{Kind: cleanup.KindNode, Name: f.node.Name}},
		{Action: cleanup.Evict, Object: on("alone"), Blocked: &cleanup.Blocker{
			Cause: cleanup.BlockedByOption, Option: "allowUnmanaged", Message: "it has no controller that would create it again (option allowUnmanaged)"}},
		{Action: cleanup.Evict, Object: on("cart"), Blocked: &cleanup.Blocker{
			Cause: cleanup.BlockedByBudget, Message: "The disruption budget cart needs 1 healthy pods and has 1 currently", Remedy: f.strict("cart")}},
		{Action: cleanup.Skip, Object: on("daemon"), Reason: "DaemonSet"},
		{Action: cleanup.Evict, Object: on("refused"), Blocked: &cleanup.Blocker{
			Cause: cleanup.BlockedByBudgets, Message: "more than one budget selects it, which the eviction API does not support: delete all but one",
			Remedy: "delete all but one, or change their selectors: kubectl -n " + f.namespace + " get pdb refused refused-too"}},
		{Action: cleanup.Evict, Object: on("scratch"), Reason: "the data in its emptyDir volume is lost"},
		{Action: cleanup.Evict, Object: on("web")},
	}
	for i := range want {
		want[i].UID = uids[want[i].Object.Name]
	}
	// The garbage collector knows that there is no such DaemonSet.
	if !slices.ContainsFunc(effects, func(effect cleanup.Effect) bool { return effect.Object.Name == "daemon" }) {
		want = slices.DeleteFunc(want, func(effect cleanup.Effect) bool { return effect.Object.Name == "daemon" })
	}
	if !equality.Semantic.DeepEqual(effects, want) {
		t.Errorf("effects are\n%v\nwant\n%v", effects, want)
	}
	if left := f.pods(); left["web"] == "" || left["cart"] == "" || left["alone"] == "" {
		t.Errorf("pods left: %v", left)
	}
	for _, event := range f.requests(writes) {
		t.Errorf("a preview sent %s %s", event.Verb, event.URI)
	}
}

// strict is the remedy of a budget that wants its only Pod.
func (f *fixture) strict(budget string) string {
	return "change budget " + budget + ", which never allows a disruption: kubectl -n " + f.namespace + " edit pdb " + budget
}

// A user without the right to evict still sees the blocker of a Pod, if the user can read the
// budgets.
func TestPreviewWithoutTheRightToEvictReadsTheBudgets(t *testing.T) {
	f := setUp(t)
	f.pod("cart", f.node)
	f.budget("cart", 1)
	f.pod("web", f.node)
	for name, test := range map[string]struct {
		rules []rbacv1.PolicyRule
		// blocked and unchecked are the expected effect of pod cart.
		blocked   *cleanup.Blocker
		unchecked string
	}{
		"may read budgets": {[]rbacv1.PolicyRule{{APIGroups: []string{"policy"}, Resources: []string{"poddisruptionbudgets"}, Verbs: []string{"list"}}},
			&cleanup.Blocker{Cause: cleanup.BlockedByBudget, Message: "budget cart allows 0 disruptions: needs 1 healthy, has 1", Remedy: f.strict("cart")}, ""},
		"may read pods alone": {nil, nil, `cannot create resource "pods/eviction"`},
	} {
		t.Run(name, func(t *testing.T) {
			user := f.namespace + "-" + strings.ReplaceAll(name, " ", "-")
			role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user},
				Rules: append(test.rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}})}
			if _, err := f.client.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			binding := &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: user},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
				Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
			}
			if _, err := f.client.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			client := kubernetes.NewForConfigOrDie(shared.RESTConfigFor(user, "system:authenticated"))
			plugin, faults := drain.Descriptor(client, clock.RealClock{}, nil).Bind(nil)
			if faults != nil {
				t.Fatal(faults)
			}
			var effects []cleanup.Effect
			f.eventually("the user has its rights", func(ctx context.Context) (bool, error) {
				if test.rules != nil {
					if _, err := client.PolicyV1().PodDisruptionBudgets(f.namespace).List(ctx, metav1.ListOptions{}); err != nil {
						return false, nil
					}
				}
				var err error
				effects, err = plugin.(cleanup.Previewer).Preview(ctx, f.target())
				return err == nil, nil
			})
			if len(effects) != 3 || effects[1].Object.Name != "cart" || effects[2].Object.Name != "web" {
				t.Fatalf("effects are %v", effects)
			}
			cart, web := effects[1], effects[2]
			if !equality.Semantic.DeepEqual(cart.Blocked, test.blocked) || !strings.Contains(cart.Unchecked, test.unchecked) || (cart.Unchecked == "") != (test.unchecked == "") {
				t.Errorf("the effect on cart is %v", cart)
			}
			if web.Blocked != nil || !strings.Contains(web.Unchecked, `cannot create resource "pods/eviction"`) {
				t.Errorf("the effect on web is %v", web)
			}
		})
	}
}
