package guard

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

var night = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// everything is a guard with each rule at work.
func everything() *config.Config {
	return &config.Config{
		NodeSelector: labels.SelectorFromSet(labels.Set{"pool": "blue"}),
		Guard: config.DeleteGuard{
			Enabled: true, ControlPlane: config.Refuse, LastSchedulable: config.Refuse, MaxTerminating: config.Limit{Number: 2}, OnReadError: config.Allow,
			CriticalPods: []config.PodSelector{{Namespaces: []string{"db"}, Selector: labels.Everything()}},
			ExemptUsers:  []string{"system:serviceaccount:kube-system:cluster-autoscaler"}, ExemptGroups: []string{"cloud"},
		},
	}
}

// worst are facts by which every rule refuses.
func worst() Facts {
	return Facts{CriticalPods: []string{"db/pg-0", "db/pg-1", "db/pg-2", "db/pg-3", "db/pg-4"}, Terminating: []string{"a", "b"}, Nodes: 40, Unread: map[Rule]error{}}
}

// best are facts by which none does.
func best() Facts {
	return Facts{OtherSchedulable: true, Terminating: []string{"a"}, Nodes: 40, Unread: map[Rule]error{}}
}

func someNode(annotations ...string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "u", Labels: map[string]string{"pool": "blue"}, Annotations: map[string]string{}, Finalizers: []string{api.Finalizer}}}
	for i := 0; i < len(annotations); i += 2 {
		node.Annotations[annotations[i]] = annotations[i+1]
	}
	return node
}

func TestDecide(t *testing.T) {
	all := []Rule{Protect, ControlPlane, CriticalPods, LastSchedulable, MaxTerminating}
	glass := []string{api.AnnotationProtect, "true", api.AnnotationBreakGlass, "rack burns", api.AnnotationBreakGlassUntil, "2026-11-23T04:00:00Z"}
	for name, test := range map[string]struct {
		facts  Facts
		change func(*config.Config, *Deletion, *Facts)
		// blocked by; none is allowed.
		blocked []Rule
		says    string
	}{
		"no rule denies": {facts: best()},
		"everything does": {worst(), func(_ *config.Config, r *Deletion, _ *Facts) {
			r.Node.Annotations[api.AnnotationProtect], r.Node.Labels["node-role.kubernetes.io/control-plane"] = "true", ""
		}, all, `node worker was not deleted: it is protected by the annotation nodecleanup.io/protect (to remove it: kubectl annotate node worker nodecleanup.io/protect-); ` +
			`it is a control-plane node, by its label node-role.kubernetes.io/control-plane (delete it with the tool that created it, whose user guard.exempt can name); ` +
			`critical pods run on it: db/pg-0, db/pg-1, db/pg-2 and 2 more (move them first: kubectl nodecleanup cleanup worker --wait); ` +
			`no other node is schedulable: all are cordoned, tainted or terminating (add a node, or uncordon one: kubectl get nodes; kubectl uncordon NODE); ` +
			`2 other nodes are terminating, and guard.maxTerminating is 2: a, b (wait until one is removed: kubectl nodecleanup status -w). ` +
			`In an emergency, a user with the verb "bypass" on nodes can break the glass: ` +
			`kubectl annotate --overwrite node worker nodecleanup.io/break-glass="WHY" nodecleanup.io/break-glass-until=2026-11-23T04:00:00Z`},
		"protect":                        {best(), annotated(api.AnnotationProtect, "true"), []Rule{Protect}, "to remove it"},
		"protect, unreadable":            {best(), annotated(api.AnnotationProtect, "ja"), []Rule{Protect}, `annotation nodecleanup.io/protect is "ja", neither true nor false`},
		"protect, false":                 {best(), annotated(api.AnnotationProtect, "false"), nil, ""},
		"control plane, by its old name": {best(), func(_ *config.Config, r *Deletion, _ *Facts) { r.Node.Labels["node-role.kubernetes.io/master"] = "" }, []Rule{ControlPlane}, "node-role.kubernetes.io/master"},
		"control plane, allowed": {best(), func(c *config.Config, r *Deletion, _ *Facts) {
			r.Node.Labels["node-role.kubernetes.io/control-plane"], c.Guard.ControlPlane = "", config.Allow
		}, nil, ""},
		"critical pods":                  {best(), func(_ *config.Config, _ *Deletion, f *Facts) { f.CriticalPods = []string{"db/pg-0"} }, []Rule{CriticalPods}, "critical pods run on it: db/pg-0 ("},
		"last schedulable":               {best(), func(_ *config.Config, _ *Deletion, f *Facts) { f.OtherSchedulable = false }, []Rule{LastSchedulable}, "no other node is schedulable"},
		"last schedulable, but cordoned": {best(), func(_ *config.Config, r *Deletion, f *Facts) { f.OtherSchedulable = false; cordon(r.Node) }, []Rule{LastSchedulable}, ""},
		"last schedulable, but tainted": {best(), func(_ *config.Config, r *Deletion, f *Facts) {
			f.OtherSchedulable = false
			r.Node.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}
		}, nil, ""},
		"last schedulable, with a taint that only asks": {best(), func(_ *config.Config, r *Deletion, f *Facts) {
			f.OtherSchedulable = false
			r.Node.Spec.Taints = []corev1.Taint{{Key: "old", Effect: corev1.TaintEffectPreferNoSchedule}}
		}, []Rule{LastSchedulable}, ""},
		"last schedulable, allowed": {best(), func(c *config.Config, _ *Deletion, f *Facts) {
			f.OtherSchedulable, c.Guard.LastSchedulable = false, config.Allow
		}, nil, ""},
		"too many": {best(), func(_ *config.Config, _ *Deletion, f *Facts) { f.Terminating = []string{"a", "b", "c"} }, []Rule{MaxTerminating}, "3 other nodes are terminating, and guard.maxTerminating is 2: a, b, c"},
		"percentage limit exceeded": {best(), func(c *config.Config, _ *Deletion, f *Facts) {
			c.Guard.MaxTerminating, f.Nodes = config.Limit{Percent: 10}, 19
		}, []Rule{MaxTerminating},
			"1 other node is terminating, and guard.maxTerminating is 10% of 19, which is 1: a"},
		"few enough of a share": {best(), func(c *config.Config, _ *Deletion, _ *Facts) { c.Guard.MaxTerminating = config.Limit{Percent: 5} }, nil, ""},
		"no limit": {best(), func(c *config.Config, _ *Deletion, f *Facts) {
			c.Guard.MaxTerminating, f.Terminating = config.Limit{}, []string{"a", "b", "c"}
		}, nil, ""},
		"terminating already": {worst(), func(_ *config.Config, r *Deletion, _ *Facts) {
			r.Node.DeletionTimestamp, r.Node.Annotations[api.AnnotationProtect] = &metav1.Time{Time: night}, "true"
		}, nil, ""},
		"off": {worst(), func(c *config.Config, r *Deletion, _ *Facts) {
			c.Guard.Enabled, r.Node.Annotations[api.AnnotationProtect] = false, "true"
		}, nil, ""},
		"exempt user": {worst(), func(_ *config.Config, r *Deletion, _ *Facts) {
			r.User = "system:serviceaccount:kube-system:cluster-autoscaler"
		}, nil, ""},
		"exempt group": {worst(), func(_ *config.Config, r *Deletion, _ *Facts) {
			r.Groups, r.Node.Annotations[api.AnnotationProtect] = []string{"a", "cloud"}, "true"
		}, nil, ""},
		"not selected": {worst(), func(_ *config.Config, r *Deletion, _ *Facts) { r.Node.Labels = nil }, nil, ""},
		"not selected, but protected": {worst(), func(_ *config.Config, r *Deletion, _ *Facts) {
			r.Node.Labels, r.Node.Annotations[api.AnnotationProtect] = nil, "true"
		}, []Rule{Protect}, ""},
		"glass broken": {worst(), annotated(glass...), nil, ""},
		"glass expired": {best(), annotated(append(glass, api.AnnotationBreakGlassUntil, "2026-11-23T02:59:59Z")...), []Rule{Protect},
			"Its break-glass annotations are not valid: it expired at 2026-11-23T02:59:59Z. In an emergency"},
		"glass without a reason": {best(), annotated(append(glass, api.AnnotationBreakGlass, "")...), []Rule{Protect}, "gives no reason"},
		"dry run":                {worst(), func(_ *config.Config, r *Deletion, _ *Facts) { r.DryRun = true }, all[2:], "node worker would not be deleted: critical"},
	} {
		t.Run(name, func(t *testing.T) {
			settings, deletion := everything(), Deletion{Request: Request{Name: "worker", UID: "u", User: "jane", Groups: []string{"ops"}}, Node: someNode()}
			if test.change != nil {
				test.change(settings, &deletion, &test.facts)
			}
			verdict := Decide(settings, deletion, test.facts, night)
			var blocked []Rule
			for _, blocker := range verdict.Blockers {
				blocked = append(blocked, blocker.Rule)
			}
			if !slices.Equal(blocked, test.blocked) || verdict.Allowed != (len(test.blocked) == 0) {
				t.Errorf("allowed is %v, blocked by %v, want %v", verdict.Allowed, blocked, test.blocked)
			}
			if !strings.Contains(verdict.Message, test.says) || verdict.Allowed != (verdict.Message == "") || len(verdict.Warnings) > 0 {
				t.Errorf("it says %q, want %q; warnings %q", verdict.Message, test.says, verdict.Warnings)
			}
			if broken := name == "glass broken"; verdict.BreakGlass.Active != broken {
				t.Errorf("the glass is %+v", verdict.BreakGlass)
			}
		})
	}
}

func annotated(pairs ...string) func(*config.Config, *Deletion, *Facts) {
	return func(_ *config.Config, r *Deletion, _ *Facts) { r.Node.Annotations = someNode(pairs...).Annotations }
}

func cordon(node *corev1.Node) {
	node.Spec.Unschedulable = true
	node.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}}
}

func TestReadErrorsFollowOnReadError(t *testing.T) {
	broken := func() Facts {
		facts := best()
		facts.Unread = map[Rule]error{MaxTerminating: errors.New("etcd is\nunavailable"), CriticalPods: errors.New("no route")}
		return facts
	}
	settings, deletion := everything(), Deletion{Request: Request{Name: "worker", UID: "u", User: "jane"}, Node: someNode()}

	allowed := Decide(settings, deletion, broken(), night)
	if !allowed.Allowed || len(allowed.Unread) != 2 || allowed.Unread[0].Rule != CriticalPods || allowed.Message != "" {
		t.Errorf("with allow: %+v", allowed)
	}
	if want := []string{
		"node worker: cannot evaluate guard.criticalPods: no route; allowed because guard.onReadError=allow",
		"node worker: cannot evaluate guard.maxTerminating: etcd is unavailable; allowed because guard.onReadError=allow",
	}; !slices.Equal(allowed.Warnings, want) {
		t.Errorf("with allow it warns %q", allowed.Warnings)
	}

	// What can be read counts all the same.
	facts := broken()
	facts.OtherSchedulable = false
	if verdict := Decide(settings, deletion, facts, night); verdict.Allowed || len(verdict.Warnings) != 2 || !strings.Contains(verdict.Message, "no other node is schedulable") {
		t.Errorf("a rule that can be read does not count: %+v", verdict)
	}

	settings.Guard.OnReadError = config.Refuse
	refused := Decide(settings, deletion, broken(), night)
	if refused.Allowed || len(refused.Warnings) > 0 || !strings.Contains(refused.Message, "cannot evaluate guard.criticalPods: no route (retry; denied because guard.onReadError=refuse)") {
		t.Errorf("with refuse: %+v", refused)
	}
}

// A Node that cannot be read is never taken for one without protection.
func TestUnreadableNodeFollowsOnReadError(t *testing.T) {
	settings, deletion := everything(), Deletion{Request: Request{Name: "worker", UID: "u", User: "jane"}}
	facts := Facts{OtherSchedulable: true, Unread: map[Rule]error{Protect: errors.New("no route")}}
	verdict := Decide(settings, deletion, facts, night)
	if want := []string{"node worker: cannot read the node: no route; allowed because guard.onReadError=allow"}; !verdict.Allowed || verdict.Record || !slices.Equal(verdict.Warnings, want) {
		t.Errorf("with allow: %+v", verdict)
	}
	settings.Guard.OnReadError = config.Refuse
	verdict = Decide(settings, deletion, facts, night)
	if verdict.Allowed || len(verdict.Unread) != 1 || !strings.HasPrefix(verdict.Message, "node worker was not deleted: cannot read the node: no route (retry; denied because guard.onReadError=refuse). Break-glass has no effect until the agent can read nodes: ") {
		t.Errorf("with refuse: %+v", verdict)
	}
	deletion.Groups = []string{"cloud"}
	if verdict := Decide(settings, deletion, facts, night); !verdict.Allowed {
		t.Errorf("an exempt user is denied: %+v", verdict)
	}
}

// If the live Node cannot be read, what the review shows of it can deny the deletion, and nothing
// in it can allow one.
func TestReviewOfAnUnreadableNodeCanOnlyDeny(t *testing.T) {
	const reviewed = "according to the admission review, "
	glass := map[string]string{api.AnnotationBreakGlass: "rack burns", api.AnnotationBreakGlassUntil: "2026-11-23T04:00:00Z"}
	protect := map[string]string{api.AnnotationProtect: "true"}
	control := map[string]string{"pool": "blue", "node-role.kubernetes.io/control-plane": ""}
	protectAndGlass := maps.Clone(glass)
	maps.Copy(protectAndGlass, protect)
	for name, test := range map[string]struct {
		request Request
		change  func(*config.Config)
		// blocked by; none is allowed.
		blocked []Rule
		says    string
	}{
		"protect":                   {request: Request{Annotations: protect}, blocked: []Rule{Protect}, says: reviewed + "it is protected by the annotation nodecleanup.io/protect (to remove it: kubectl annotate node worker nodecleanup.io/protect-)"},
		"protect, unreadable":       {request: Request{Annotations: map[string]string{api.AnnotationProtect: "ja"}}, blocked: []Rule{Protect}, says: reviewed + "it counts as protected"},
		"protect, false":            {request: Request{Annotations: map[string]string{api.AnnotationProtect: "false"}}},
		"control plane":             {request: Request{Labels: control}, blocked: []Rule{ControlPlane}, says: reviewed + "it is a control-plane node, by its label node-role.kubernetes.io/control-plane"},
		"both":                      {request: Request{Labels: control, Annotations: protect}, blocked: []Rule{Protect, ControlPlane}},
		"control plane, not chosen": {request: Request{Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}}},
		"control plane, allowed":    {request: Request{Labels: control}, change: func(c *config.Config) { c.Guard.ControlPlane = config.Allow }},
		"break-glass":               {request: Request{Annotations: protectAndGlass}, blocked: []Rule{Protect}},
		"nothing":                   {},
		"exempt":                    {request: Request{Annotations: protect, Groups: []string{"cloud"}}},
		"off":                       {request: Request{Annotations: protect}, change: func(c *config.Config) { c.Guard.Enabled = false }},
	} {
		settings, request := everything(), test.request
		request.Name, request.UID, request.User = "worker", "u", "jane"
		if test.change != nil {
			test.change(settings)
		}
		verdict := Decide(settings, Deletion{Request: request}, Facts{OtherSchedulable: true, Unread: map[Rule]error{Protect: errors.New("no route")}}, night)
		var blocked []Rule
		for _, blocker := range verdict.Blockers {
			blocked = append(blocked, blocker.Rule)
		}
		if !slices.Equal(blocked, test.blocked) || verdict.Allowed != (len(test.blocked) == 0) || verdict.Record || verdict.BreakGlass.Active || !strings.Contains(verdict.Message, test.says) {
			t.Errorf("%s: %+v, want blocked by %v", name, verdict, test.blocked)
		}
		if warned := strings.Join(verdict.Warnings, "\n"); !verdict.Allowed && warned != "node worker: cannot read the node: no route; ignored because guard.onReadError=allow" {
			t.Errorf("%s: it warns %q", name, warned)
		}
	}

	// With refuse, no annotation in the review makes up for the live Node.
	settings := everything()
	settings.Guard.OnReadError = config.Refuse
	deletion := Deletion{Request: Request{Name: "worker", UID: "u", User: "jane", Annotations: glass}}
	if verdict := Decide(settings, deletion, Facts{Unread: map[Rule]error{Protect: errors.New("no route")}}, night); verdict.Allowed {
		t.Errorf("with refuse: %+v", verdict)
	}

	// A live Node that can be read is decided on alone.
	deletion.Node, deletion.Annotations, deletion.Labels = someNode(), protect, control
	if verdict := Decide(everything(), deletion, best(), night); !verdict.Allowed {
		t.Errorf("the review denies the deletion of a live node: %+v", verdict)
	}
	deletion.Node, deletion.Annotations = someNode(api.AnnotationProtect, "true"), glass
	if verdict := Decide(everything(), deletion, best(), night); verdict.Allowed {
		t.Errorf("the review allows the deletion of a protected live node: %+v", verdict)
	}
}

func TestDryRunOfTheAgentOnlyWarns(t *testing.T) {
	settings, deletion := everything(), Deletion{Request: Request{Name: "worker", UID: "u", User: "jane"}, Node: someNode()}
	settings.DryRun = true
	verdict := Decide(settings, deletion, worst(), night)
	if !verdict.Allowed || verdict.Message != "" || len(verdict.Warnings) != 1 || !strings.HasPrefix(verdict.Warnings[0], "node worker: dry run: this deletion would have been denied: critical pods") {
		t.Errorf("it answers %+v", verdict)
	}
}

func TestOnlyEffectiveRulesAreEvaluated(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*config.Config, *Deletion)
		want   []Rule
	}{
		"all":                 {func(*config.Config, *Deletion) {}, []Rule{CriticalPods, LastSchedulable, MaxTerminating}},
		"by default":          {func(c *config.Config, _ *Deletion) { c.Guard = config.DeleteGuard{Enabled: true} }, nil},
		"off":                 {func(c *config.Config, _ *Deletion) { c.Guard.Enabled = false }, nil},
		"exempt":              {func(_ *config.Config, r *Deletion) { r.Groups = []string{"cloud"} }, nil},
		"terminating already": {func(_ *config.Config, r *Deletion) { r.Node.DeletionTimestamp = &metav1.Time{Time: night} }, nil},
		"not selected":        {func(_ *config.Config, r *Deletion) { r.Node.Labels = nil }, nil},
		"glass broken": {func(_ *config.Config, r *Deletion) {
			r.Node.Annotations = someNode(api.AnnotationBreakGlass, "why", api.AnnotationBreakGlassUntil, "2026-11-23T04:00:00Z").Annotations
		}, nil},
		"a node that is not schedulable": {func(_ *config.Config, r *Deletion) {
			r.Node.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoExecute}}
		}, []Rule{CriticalPods, MaxTerminating}},
	} {
		settings, deletion := everything(), Deletion{Request: Request{Name: "worker", UID: "u", User: "jane"}, Node: someNode()}
		test.change(settings, &deletion)
		if got := Needed(settings, deletion, night); !slices.Equal(got, test.want) {
			t.Errorf("%s: asked are %v, want %v", name, got, test.want)
		}
	}
}

func TestUserIsRecordedIfACleanupFollows(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*config.Config, *Deletion)
		want   bool
	}{
		"allowed":             {func(*config.Config, *Deletion) {}, true},
		"exempt":              {func(_ *config.Config, r *Deletion) { r.Groups = []string{"cloud"} }, true},
		"off":                 {func(c *config.Config, _ *Deletion) { c.Guard.Enabled = false }, false},
		"terminating already": {func(_ *config.Config, r *Deletion) { r.Node.DeletionTimestamp = &metav1.Time{Time: night} }, false},
		"no finalizer":        {func(_ *config.Config, r *Deletion) { r.Node.Finalizers = nil }, false},
		"denied":              {func(_ *config.Config, r *Deletion) { r.Node.Annotations[api.AnnotationProtect] = "true" }, false},
		"dry run":             {func(_ *config.Config, r *Deletion) { r.DryRun = true }, false},
	} {
		settings, deletion := everything(), Deletion{Request: Request{Name: "worker", UID: "u", User: "jane"}, Node: someNode()}
		test.change(settings, &deletion)
		if got := Decide(settings, deletion, best(), night).Record; got != test.want {
			t.Errorf("%s: recorded is %v", name, got)
		}
	}
}

func TestWarningFitsAHeader(t *testing.T) {
	got := oneLine("a\nb\x1b[31m" + strings.Repeat("é", maxWarning))
	if strings.ContainsAny(got, "\n\x1b") || len(got) > maxWarning+len("…") || !strings.HasSuffix(got, "é…") {
		t.Errorf("it is %q", got)
	}
}
