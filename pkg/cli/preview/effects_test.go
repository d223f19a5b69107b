package preview

import (
	"reflect"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func onPod(action cleanup.Action, namespace, name, reason string, blocked *cleanup.Blocker) cleanup.Effect {
	return cleanup.Effect{Action: action, Object: cleanup.Object{Kind: cleanup.KindPod, Namespace: namespace, Name: name}, Reason: reason, Blocked: blocked}
}

func TestEffectsOfADrain(t *testing.T) {
	step := config.Step{Name: "drain", Plugin: api.DrainPlugin}
	effects := []cleanup.Effect{
		{Action: cleanup.Cordon, Object: cleanup.Object{Kind: cleanup.KindNode, Name: "worker"}},
		onPod(cleanup.Evict, "shop", "web-1", "", nil),
		onPod(cleanup.Evict, "shop", "cart-0", "", &cleanup.Blocker{Cause: cleanup.BlockedByBudget, Message: "The disruption budget cart needs 1 healthy pods and has 1 currently"}),
		onPod(cleanup.Evict, "shop", "cache-0", "the data in its emptyDir volume is lost", nil),
		onPod(cleanup.Wait, "shop", "old", "terminating", nil),
		onPod(cleanup.Wait, "shop", "held", "terminating", &cleanup.Blocker{Cause: api.BlockedByFinalizer, Message: "terminating, blocked by finalizer a/b", Remedy: "ask its owner"}),
		onPod(cleanup.Wait, "batch", "job", "not evicted, waiting for it to complete (rules[0])", nil),
		{Action: cleanup.Restart, Object: cleanup.Object{Kind: "Deployment", Namespace: "shop", Name: "single"}},
		onPod(cleanup.Skip, "kube-system", "proxy", "DaemonSet", nil),
		onPod(cleanup.Skip, "kube-system", "cni", "DaemonSet", nil),
		onPod(cleanup.Skip, "kube-system", "etcd", "static", nil),
		onPod(cleanup.Evict, "ml", "train-x", "", &cleanup.Blocker{Cause: cleanup.BlockedByOption, Option: "allowUnmanaged", Message: "it has no controller that would create it again (option allowUnmanaged)"}),
		onPod(cleanup.Evict, "db", "pg-0", "", &cleanup.Blocker{Cause: cleanup.BlockedByBudgets, Message: "more than one budget selects it"}),
		onPod(cleanup.Evict, "shop", "pinned", "", &cleanup.Blocker{Cause: cleanup.BlockedByController, Message: "controller Deployment shop/pinned puts its Pods back"}),
		onPod(cleanup.Evict, "vm", "vm-0", "", &cleanup.Blocker{Cause: cleanup.BlockedByServer, Message: "it is being migrated"}),
	}
	const want = "cordon; evict 7 pods, 5 BLOCKED; restart 1 rollout; wait for 2 that terminate, 1 BLOCKED; wait for 1 to complete; leave 1 static, 2 DaemonSet"
	if got := summarize(step, effects); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	blocked := []printer.Blocker{
		{What: "shop/cart-0", Reason: "The disruption budget cart needs 1 healthy pods and has 1 currently", Remedy: "add a replica to the workload, or wait: kubectl -n shop get pdb"},
		{What: "shop/held", Reason: "terminating, blocked by finalizer a/b", Remedy: "ask its owner"},
		{What: "ml/train-x", Reason: "it has no controller that would create it again (option allowUnmanaged)", Remedy: "delete it yourself, or set allowUnmanaged: true in the options of step drain"},
		{What: "db/pg-0", Reason: "more than one budget selects it", Remedy: "delete all but one of the budgets that select the pod: kubectl -n db get pdb"},
		{What: "shop/pinned", Reason: "controller Deployment shop/pinned puts its Pods back", Remedy: "remove nodeName from its Pod template, or scale it to 0"},
		{What: "vm/vm-0", Reason: "it is being migrated"},
	}
	if got := blockers(step, effects); !reflect.DeepEqual(got, blocked) {
		t.Errorf("got %+v", got)
	}
}

func TestSummariesOfOtherSteps(t *testing.T) {
	step := config.Step{Name: "tell", Plugin: "http"}
	one := cleanup.Effect{Action: cleanup.Call, Object: cleanup.Object{Kind: cleanup.KindURL, Name: "https://a"}}
	two := cleanup.Effect{Action: cleanup.Skip, Reason: "two"}
	for want, effects := range map[string][]cleanup.Effect{
		"nothing to do": nil, "call https://a": {one}, "call https://a; skip: two": {one, two}, "call https://a; and 2 more": {one, two, two},
	} {
		if got := summarize(step, effects); got != want || blockers(step, effects) != nil {
			t.Errorf("%v: got %q, want %q", effects, got, want)
		}
	}
}

// Any plugin can report a blocked effect.
func TestBlockedEffectOfAnyPluginIsABlocker(t *testing.T) {
	effects := []cleanup.Effect{{Action: "Detach", Object: cleanup.Object{Kind: "Volume", Name: "v"}, Blocked: &cleanup.Blocker{Cause: "Replicas", Message: "it is the last replica"}}}
	if got := blockers(config.Step{Name: "longhorn", Plugin: "longhorn"}, effects); !reflect.DeepEqual(got, []printer.Blocker{{What: "v", Reason: "it is the last replica"}}) {
		t.Errorf("got %+v", got)
	}
}

// Without the right to evict nothing is known of budgets, which is not the same as blocked.
func TestMissingRightsAreNotABlocker(t *testing.T) {
	step := config.Step{Name: "drain", Plugin: api.DrainPlugin}
	effects := []cleanup.Effect{onPod(cleanup.Evict, "shop", "cart-0", "", nil)}
	effects[0].Unchecked = `pods "cart-0" is forbidden: User "jo" cannot create resource "pods/eviction" in API group "" in the namespace "shop"`
	if got := summarize(step, effects); got != "evict 1 pod, budgets not known" || blockers(step, effects) != nil || unchecked(effects) == "" {
		t.Errorf("got %q, blockers %+v, note %q", got, blockers(step, effects), unchecked(effects))
	}
}

// A Job that Pod Security would not admit says nothing about the right to evict.
func TestUncheckedEffectOfAnotherPluginIsNoMissingRight(t *testing.T) {
	effects := []cleanup.Effect{{Action: "Run", Object: cleanup.Object{Kind: "Job", Namespace: "node-jobs", Name: "archive-1"}, Unchecked: "the API server warns: would violate PodSecurity"}}
	if note := unchecked(effects); note != "" {
		t.Errorf("the note is %q", note)
	}
}
