package controller

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	contract "github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// previewed is a plugin with a preview.
type previewed struct {
	pluginFunc
	effects []contract.Effect
	err     error
}

func (p *previewed) Preview(context.Context, contract.Target) ([]contract.Effect, error) {
	return p.effects, p.err
}

func evicts(uids ...string) []contract.Effect {
	var effects []contract.Effect
	for _, uid := range uids {
		effects = append(effects, contract.Effect{Action: contract.Evict, UID: types.UID(uid)})
	}
	return effects
}

func TestComparePlan(t *testing.T) {
	begun := func(c *cleanup) { c.record.Step("drain").Attempts = 1 }
	for name, test := range map[string]struct {
		requested string
		deleted   bool
		change    func(b *bench, drain *previewed)
		begun     bool
		// refused is the text of the refusal; previewed, whether the plugin was asked.
		refused   string
		previewed bool
		keeps     bool
	}{
		"any plan":                        {requested: ""},
		"the same plan":                   {requested: "it", previewed: true, keeps: true},
		"no hash":                         {requested: "x", refused: `annotation nodecleanup.io/cleanup-requested-plan: "x" is not the hash of a plan`, keeps: true},
		"another pod":                     {requested: "it", change: func(_ *bench, drain *previewed) { drain.effects = evicts("a", "c") }, refused: "the pods or volumes of the node changed; no step has run", previewed: true, keeps: true},
		"another config":                  {requested: "it", change: func(b *bench, _ *previewed) { b.config.Hash = "other" }, refused: "the config changed; no step has run", previewed: true, keeps: true},
		"a preview that fails":            {requested: "it", change: func(_ *bench, drain *previewed) { drain.err = errors.New("no route") }, refused: "the agent cannot compute the plan to compare it with plan ", previewed: true, keeps: true},
		"the pods of a cleanup that runs": {requested: "it", begun: true, change: func(_ *bench, drain *previewed) { drain.effects = nil }, keeps: true},
		"the config of a cleanup that runs": {requested: "it", begun: true, change: func(b *bench, _ *previewed) { b.config.Hash = "other" },
			refused: "the config changed; no further step runs", keeps: true},
		"a deletion":                 {requested: "it", deleted: true},
		"a deletion of the same":     {requested: "it", deleted: true, begun: true, keeps: true},
		"a deletion by another plan": {requested: "it", deleted: true, begun: true, change: func(b *bench, _ *previewed) { b.config.Hash = "other" }},
	} {
		t.Run(name, func(t *testing.T) {
			node := makeNode(nil)
			if test.deleted {
				node = deletedNode(nil)
			}
			b := newTest(t, node)
			asked := false
			drain := &previewed{effects: evicts("a", "b")}
			b.step("drain", counting{drain, &asked})
			c := b.loaded(node, nil)
			c.record.CleanupRequestedAt, c.record.RequestedPlan = "now", test.requested
			c.plan = plan.Build(b.config.Steps, node)
			if test.requested == "it" {
				c.record.RequestedPlan = c.plan.Hash(node.UID, b.config).WithEffects(map[string][]contract.Effect{"drain": drain.effects}).String()
			}
			requested := c.record.RequestedPlan
			c.plan.Record(c.record, b.config.Hash, false)
			if test.begun {
				begun(c)
			}
			if test.change != nil {
				test.change(b, drain)
			}
			done := b.comparePlan(t.Context(), c)
			if done.stop != (test.refused != "") || done.err != nil || asked != test.previewed {
				t.Fatalf("the result is %+v, asked for a preview: %v", done, asked)
			}
			if (c.record.RequestedPlan == requested) != (test.keeps || requested == "") {
				t.Errorf("the record has plan %q, requested was %q", c.record.RequestedPlan, requested)
			}
			if test.refused == "" {
				b.wantNoEvent()
				return
			}
			if run := b.stored(); run.State != api.Canceled || !run.Refused || run.FinishedAt == nil || !strings.Contains(run.Message, test.refused) {
				t.Errorf("the record is %+v", run)
			}
			b.wantEvent("Warning CleanupRefused Cleanup refused: ")
			if said := b.condition(); !strings.Contains(said, `"reason":"Canceled"`) || !strings.Contains(said, "refused: ") {
				t.Errorf("the condition says %s", said)
			}
		})
	}
}

// counting notes that a preview was asked for.
type counting struct {
	*previewed
	asked *bool
}

func (c counting) Preview(ctx context.Context, target contract.Target) ([]contract.Effect, error) {
	*c.asked = true
	return c.previewed.Preview(ctx, target)
}

// A second request while the first one runs is a new one, also if only its plan differs.
func TestRequestWithAnotherPlanIsAnotherRequest(t *testing.T) {
	node := makeNode(func(node *corev1.Node) {
		node.Annotations = map[string]string{api.AnnotationCleanupRequestedAt: "now", api.AnnotationCleanupRequestedPlan: "other", api.AnnotationCleanupRequestedBy: "rita"}
	})
	b := newTest(t, node)
	c := b.loaded(node, &api.Run{Node: "worker", NodeUID: "uid", CleanupRequestedAt: "now", RequestedPlan: "first", State: api.Canceled, Refused: true})
	if done := b.onRequest(t.Context(), c); done.stop || c.record.RequestedPlan != "other" || c.record.Refused || c.record.RequestedBy != "rita" {
		t.Errorf("result %+v, record %+v", done, c.record)
	}
}
