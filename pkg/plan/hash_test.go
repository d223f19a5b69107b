package plan

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

func onPod(action cleanup.Action, name string, uid types.UID) cleanup.Effect {
	return cleanup.Effect{Action: action, Object: cleanup.Object{Kind: cleanup.KindPod, Namespace: "shop", Name: name}, UID: uid}
}

// facts are the inputs of a hash.
type facts struct {
	node    types.UID
	config  config.Config
	steps   []config.Step
	effects map[string][]cleanup.Effect
}

func someFacts() *facts {
	attachment := cleanup.Effect{Action: cleanup.Wait, Object: cleanup.Object{Kind: "PersistentVolume", Name: "pv-1"}, UID: "attachment-1"}
	return &facts{
		node: "uid", config: config.Config{Hash: "config"}, steps: []config.Step{step("drain"), step("volumes", "drain")},
		effects: map[string][]cleanup.Effect{
			"drain": {
				{Action: cleanup.Cordon, Object: cleanup.Object{Kind: cleanup.KindNode, Name: "worker"}},
				onPod(cleanup.Evict, "web-1", "pod-1"), onPod(cleanup.Skip, "proxy", "pod-2"),
			},
			"volumes": {attachment, {Action: cleanup.Wait, Object: cleanup.Object{Kind: "Volume", Name: "iscsi-1"}}},
		},
	}
}

func (f *facts) hash() Hash {
	return Build(f.steps, &corev1.Node{}).Hash(f.node, &f.config).WithEffects(f.effects)
}

func TestHashCoversThePlan(t *testing.T) {
	base := someFacts().hash()
	const (
		config  = "the config changed"
		steps   = "the node changed (for example its labels), so that other steps apply"
		objects = "the pods or volumes of the node changed"
	)
	for name, test := range map[string]struct {
		change func(*facts)
		says   string
	}{
		"another node":      {func(f *facts) { f.node = "other" }, "it is the plan of another node, or of an earlier node with this name"},
		"another config":    {func(f *facts) { f.config.Hash = "other" }, config},
		"a dry run":         {func(f *facts) { f.config.DryRun = true }, config},
		"a step is skipped": {func(f *facts) { f.steps[1].Bound = plugin{refuses: "no disk"} }, steps},
		"other options":     {func(f *facts) { f.steps[0].Options = []byte(`{"x":1}`) }, steps},
		"a new pod": {func(f *facts) {
			f.effects["drain"] = append(f.effects["drain"], onPod(cleanup.Evict, "web-2", "pod-3"))
		}, objects},
		"a pod is deleted":  {func(f *facts) { f.effects["drain"] = f.effects["drain"][:2] }, objects},
		"a pod is replaced": {func(f *facts) { f.effects["drain"][1].UID = "pod-4" }, objects},
		"another verdict":   {func(f *facts) { f.effects["drain"][2].Action = cleanup.Evict }, objects},
		"a pod is refused": {func(f *facts) {
			f.effects["drain"][1].Blocked = &cleanup.Blocker{Cause: cleanup.BlockedByOption, Option: "allowUnmanaged"}
		}, objects},
		"another attachment": {func(f *facts) { f.effects["volumes"][0].UID = "attachment-2" }, objects},
		"an in-tree volume":  {func(f *facts) { f.effects["volumes"][1].Object.Name = "iscsi-2" }, objects},
		"another step's pod": {func(f *facts) { f.effects["drain"], f.effects["volumes"] = f.effects["volumes"], f.effects["drain"] }, objects},
	} {
		changed := someFacts()
		test.change(changed)
		now := changed.hash()
		if got := base.Changes(now); got != test.says || now == base {
			t.Errorf("%s: %s and %s differ by %q, want %q", name, base, now, got, test.says)
		}
	}
}

func TestHashIgnoresOrderAndCallerData(t *testing.T) {
	base := someFacts().hash()
	for name, change := range map[string]func(*facts){
		"order":           func(f *facts) { slices.Reverse(f.effects["drain"]) },
		"a cordon":        func(f *facts) { f.effects["drain"] = f.effects["drain"][1:] },
		"a budget":        func(f *facts) { f.effects["drain"][1].Blocked = &cleanup.Blocker{Cause: cleanup.BlockedByBudget} },
		"a missing right": func(f *facts) { f.effects["drain"][1].Unchecked = "forbidden" },
		"an effect from another system": func(f *facts) {
			f.effects["drain"] = append(f.effects["drain"], cleanup.Effect{Action: "Open", ReportedBy: "https://tickets.example.com"})
		},
		"a reason":                       func(f *facts) { f.effects["drain"][1].Reason = "its emptyDir is lost" },
		"another object of the same pod": func(f *facts) { f.effects["drain"][1].Object.Kind = "ReplicaSet" },
	} {
		changed := someFacts()
		change(changed)
		if now := changed.hash(); now != base || base.Changes(now) != "" {
			t.Errorf("%s changes %s to %s", name, base, now)
		}
	}
}

func TestHashWithoutEffectsComparesSteps(t *testing.T) {
	with, without := someFacts().hash(), Build(someFacts().steps, &corev1.Node{}).Hash("uid", &config.Config{Hash: "config"})
	if changes := with.Changes(without); changes != "" {
		t.Errorf("they differ by %q", changes)
	}
}

func TestParseHash(t *testing.T) {
	hash := someFacts().hash()
	if parsed, err := ParseHash(hash.String()); err != nil || parsed != hash {
		t.Errorf("%s is read as %s, %v", hash, parsed, err)
	}
	for _, text := range []string{"", "9f3c1a", "9f3c1-0a2b4-77d1e", "9f3c1-0a2b4-77d1e-c0ffe-00000", "9F3C1-0a2b4-77d1e-c0ffe", hash.String() + "\n"} {
		if parsed, err := ParseHash(text); err == nil {
			t.Errorf("%q is read as %s", text, parsed)
		}
	}
}
