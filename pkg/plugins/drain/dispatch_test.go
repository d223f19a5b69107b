package drain

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
)

// podsOf makes pods of one controller.
func podsOfController(controller string, number int) []*corev1.Pod {
	var made []*corev1.Pod
	for i := range number {
		made = append(made, makePod(fmt.Sprintf("%s-%d", controller, i), func(pod *corev1.Pod) {
			pod.OwnerReferences[0].UID = types.UID(controller)
			pod.Labels = map[string]string{"app": controller}
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}))
	}
	return made
}

func TestParallelEvictionsGrowUntilOneIsRefused(t *testing.T) {
	const pods = 60
	synctest.Test(t, func(t *testing.T) {
		answer := metav1.Status{}
		server := &counter{answer: func(string) metav1.Status { return answer }}
		p := server.plugin(nil)
		all := podsOfController("cart", pods+20)
		d := newDrain(p, target(), all)
		began := time.Now()
		if _, err := d.advance(t.Context(), ready(corev1.ConditionTrue), all[:pods]); err != nil {
			t.Fatal(err)
		}
		// Each request takes a second: 4, 5, 6, 7, 8, 8, 8, 8, and the rest.
		if took := time.Since(began); server.highest != maxWindow || len(server.ended) != pods || took > 10*time.Second {
			t.Errorf("%d evictions in %s, at most %d in flight", len(server.ended), took, server.highest)
		}
		answer, server.highest = overBudget(0), 0
		if _, err := d.advance(t.Context(), ready(corev1.ConditionTrue), all[pods:]); err != nil {
			t.Fatal(err)
		}
		if limit := d.window(all[0]).limit(); limit != 1 {
			t.Errorf("after refusals %d may be in flight", limit)
		}
	})
}

func TestControllersDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &counter{answer: func(path string) metav1.Status {
			if strings.Contains(path, "/blocked-") {
				return overBudget(0)
			}
			return metav1.Status{}
		}}
		var all []*corev1.Pod
		const controllers = maxConcurrent/firstWindow + 1
		for i := range controllers {
			all = append(all, podsOfController(fmt.Sprintf("cart-%d", i), 10)...)
		}
		all = append(podsOfController("blocked", 10), all...)
		d := newDrain(server.plugin(nil), target(), all)
		for range 2 { // The first pass may end while the budgets are listed.
			if _, err := d.advance(t.Context(), ready(corev1.ConditionTrue), all); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		evicted := 0
		for _, path := range server.ended {
			if !strings.Contains(path, "/blocked-") {
				evicted++
			}
		}
		if evicted != 10*controllers || server.highest != maxConcurrent {
			t.Errorf("%d pods of other controllers were evicted, at most %d at once", evicted, server.highest)
		}
	})
}

// budget allows a number of disruptions of the pods of a controller.
func budget(controller string, allowed int32, resourceVersion string) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: controller, UID: types.UID("budget-" + controller), ResourceVersion: resourceVersion},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": controller}}},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, DesiredHealthy: 4, CurrentHealthy: 4 + allowed},
	}
}

// knowing returns budgets that are known without an API server.
func knowing(known ...*policyv1.PodDisruptionBudget) *budgets {
	b := newBudgets(nil, slog.New(slog.DiscardHandler))
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	for _, each := range known {
		_ = store.Add(each) // A store in memory takes everything that has a name.
	}
	b.namespaces["shop"] = &followedBudgets{follower: &follower{changed: b.changed}, stop: func() {}, store: store}
	return b
}

func TestEvictionDispatch(t *testing.T) {
	pod := podsOfController("cart", 1)[0]
	unready := pod.DeepCopy()
	unready.Status.Conditions = nil
	refused := evictionState{delay: 2 * time.Second, next: noon.Add(time.Second), byBudget: true, blocked: "as it was", budgets: versionOf([]*policyv1.PodDisruptionBudget{budget("cart", 1, "1")})}
	duly := refused
	duly.next = noon
	unwatched, none := refused, refused
	unwatched.budgets, none.budgets = "", versionOf(nil)
	byServer := refused
	byServer.byBudget = false
	listingBudgets := knowing()
	listingBudgets.namespaces["shop"].store = nil
	outdated := knowing(budget("cart", 1, "2"))
	outdated.namespaces["shop"].follower.failed("poddisruptionbudgets", context.DeadlineExceeded)
	const why = "The disruption budget cart needs 4 healthy pods and has 4 currently"
	for name, test := range map[string]struct {
		options options
		pod     *corev1.Pod
		state   evictionState
		budgets *budgets
		used    int
		want    readiness
		blocked string
	}{
		"never tried, budgets not known":               {pod: pod, budgets: newBudgets(nil, nil), want: isReady},
		"accepted":                                     {pod: pod, state: evictionState{accepted: true}, budgets: knowing(budget("cart", 1, "2")), want: notDue},
		"refused, budgets not known":                   {pod: pod, state: refused, budgets: newBudgets(nil, nil), want: notDue, blocked: "as it was"},
		"refused and due, budgets not known":           {pod: pod, state: duly, budgets: newBudgets(nil, nil), want: isReady, blocked: "as it was"},
		"never tried, budgets are listed":              {pod: pod, budgets: listingBudgets, want: awaitsBudget},
		"refused, budgets are listed":                  {pod: pod, state: refused, budgets: listingBudgets, want: awaitsBudget, blocked: "as it was"},
		"refused and due, budgets are listed":          {pod: pod, state: duly, budgets: listingBudgets, want: isReady, blocked: "as it was"},
		"never tried, the budget is closed":            {pod: pod, budgets: knowing(budget("cart", 0, "2")), want: awaitsBudget, blocked: why},
		"refused, the budget is closed":                {pod: pod, state: refused, budgets: knowing(budget("cart", 0, "2")), want: awaitsBudget, blocked: why},
		"refused and due, the budget is closed":        {pod: pod, state: duly, budgets: knowing(budget("cart", 0, "2")), want: isReady, blocked: why},
		"refused, the budget has opened":               {pod: pod, state: refused, budgets: knowing(budget("cart", 1, "2")), want: isReady, blocked: "as it was"},
		"refused, the budget is unchanged":             {pod: pod, state: refused, budgets: knowing(budget("cart", 1, "1")), want: awaitsBudget, blocked: "as it was"},
		"refused, the budget is deleted":               {pod: pod, state: refused, budgets: knowing(), want: isReady, blocked: "as it was"},
		"refused while budgets were not known":         {pod: pod, state: unwatched, budgets: knowing(), want: isReady, blocked: "as it was"},
		"refused though there is no budget":            {pod: pod, state: none, budgets: knowing(), want: awaitsBudget, blocked: "as it was"},
		"refused by the server, the budget has opened": {pod: pod, state: byServer, budgets: knowing(budget("cart", 1, "2")), want: notDue, blocked: "as it was"},
		"the budget selects other pods":                {pod: pod, budgets: knowing(budget("web", 0, "2")), want: isReady},
		"the allowed disruptions are used":             {pod: pod, budgets: knowing(budget("cart", 2, "2")), used: 2, want: awaitsBudget},
		"the budget allows one more":                   {pod: pod, budgets: knowing(budget("cart", 3, "2")), used: 2, want: isReady},
		"unready, with enough healthy ones":            {pod: unready, budgets: knowing(budget("cart", 0, "2")), want: isReady},
		"the watch is interrupted":                     {pod: pod, budgets: outdated, want: isReady},
		"budgets are not respected any more": {options: options{ForceAfter: metav1.Duration{Duration: time.Nanosecond}}, pod: pod,
			budgets: knowing(budget("cart", 0, "2")), want: isReady},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDrain(&plugin{options: test.options, client: clientOver(nil), clock: clocktesting.NewFakeClock(noon.Add(time.Millisecond))}, target(), nil)
			state := test.state
			d.evictions[test.pod.UID], d.budgets = &state, test.budgets
			for range test.used {
				d.disruptions.reserve([]*policyv1.PodDisruptionBudget{budget("cart", 0, "")})
			}
			p := &dispatcher{drain: d}
			if got, _ := p.readiness(test.pod); got != test.want || state.blocked != test.blocked {
				t.Errorf("readiness is %d, blocked by %q; want %d, %q", got, state.blocked, test.want, test.blocked)
			}
		})
	}
}

// One refusal is enough to know that a budget is closed: the other pods of the budget are not asked for.
func TestPodsOfAClosedBudgetAreNotTried(t *testing.T) {
	var mutex sync.Mutex
	evictions := 0
	s := &stub{answer: func(*http.Request) metav1.Status {
		mutex.Lock()
		defer mutex.Unlock()
		evictions++
		return metav1.Status{}
	}}
	p, _ := s.plugin(t, options{})
	pods := podsOfController("cart", 20)
	d := newDrain(p, target(), pods)
	d.budgets = knowing(budget("cart", 3, "1"))
	left, err := d.advance(t.Context(), ready(corev1.ConditionTrue), pods)
	if err != nil {
		t.Fatal(err)
	}
	// The stub's budget does not change, so three are in flight at any time until all are evicted.
	if evictions != 20 || len(left) != 20 {
		t.Errorf("%d evictions, %d left", evictions, len(left))
	}
	d = newDrain(p, target(), pods)
	d.budgets = knowing(budget("cart", 0, "1"))
	if left, err = d.advance(t.Context(), ready(corev1.ConditionTrue), pods); err != nil {
		t.Fatal(err)
	}
	if evictions != 20 {
		t.Errorf("%d evictions were requested while the budget was closed", evictions-20)
	}
	if got, want := d.describe(left), "20 pods remaining: shop/cart-0 and 19 more (The disruption budget cart needs 4 healthy pods and has 4 currently; change budget cart, which never allows a disruption"; !strings.HasPrefix(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
	if !d.requeue.IsZero() {
		t.Errorf("it looks again at %s, though only the budget can change something", d.requeue)
	}
}

// When a budget opens, every Node with Pods of it is notified. Only as many evictions go out as it allows.
func TestNodesShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &counter{answer: func(string) metav1.Status { return metav1.Status{} }}
		p := server.plugin(NewLimiter(50))
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() {
				node := ready(corev1.ConditionTrue)
				node.Name = fmt.Sprintf("node-%d", i)
				to := target()
				to.Node = node
				pod := podsOfController("cart", i+1)[i]
				d := newDrain(p, to, []*corev1.Pod{pod})
				d.budgets = knowing(budget("cart", 2, "1"))
				for !d.accepted(pod) {
					if _, err := d.advance(t.Context(), node, []*corev1.Pod{pod}); err != nil {
						t.Error(err)
						return
					}
					if !d.accepted(pod) {
						_ = d.wait(t.Context(), nil) // The test's context has no end.
					}
				}
			})
		}
		group.Wait()
		if server.highest != 2 || len(server.ended) != 10 {
			t.Errorf("%d evictions, at most %d at once", len(server.ended), server.highest)
		}
	})
}

func (d *drain) accepted(pod *corev1.Pod) bool {
	known := d.evictions[pod.UID]
	return known != nil && known.accepted
}
