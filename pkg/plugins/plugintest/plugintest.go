// Package plugintest is the conformance test of plugins: it checks the contract of package
// cleanup. Call Run in a test of the plugin.
package plugintest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Suite describes the plugin under test and how to create each situation. Descriptor and Options
// are required.
type Suite struct {
	// Descriptor of the plugin, made with dependencies that work.
	Descriptor cleanup.Descriptor
	// Options of a step, as JSON.
	Options string
	// Node makes a Node that the plugin has something to do for; nil is any Node.
	Node func(t *testing.T, name string) *corev1.Node
	// Effects counts the changes that the plugin has made so far, in the cluster or in the other
	// system. It is nil if they are not visible.
	Effects func(t *testing.T) int
	// Hang makes Cleanup wait, for this Node or for all, until the test ends. It returns a channel
	// that is closed when the plugin waits. It is nil if the plugin never waits.
	Hang func(t *testing.T, node *corev1.Node) (waiting <-chan struct{})
	// Break makes every Cleanup fail until the test ends, for a reason that ends by itself, such as a
	// server that is down. It is nil if Cleanup cannot fail.
	Break func(t *testing.T)
	// Refuse makes every Cleanup fail until the test ends, for a reason that no retry removes. It is nil
	// if there is no such reason.
	Refuse func(t *testing.T)
	// Throttle makes every Cleanup fail until the test ends because the other system asks to wait, and
	// returns for how long it asks. It is nil if the other system never does.
	Throttle func(t *testing.T) time.Duration
	// Undo undoes the work of a Cleanup for a Node. It is required if the plugin is a Verifier and its
	// work can be undone.
	Undo func(t *testing.T, node *corev1.Node)
	// Exempt makes a Node that the step does not apply to. It is required if the plugin is a NodeFilter.
	Exempt func(t *testing.T, name string) *corev1.Node
	// Unhealthy makes the health check fail until the test ends. It is required if the plugin is a
	// HealthChecker.
	Unhealthy func(t *testing.T)
	// Canary is part of every secret of the plugin, and must not appear in its output. It is empty
	// if the plugin has no secret.
	Canary string
}

// Run tests that the plugin fulfills the contract.
func Run(t *testing.T, s Suite) {
	if s.Node == nil {
		s.Node = func(_ *testing.T, name string) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)}}
		}
	}
	t.Run("describes itself", s.describesItself)
	t.Run("names its rights", s.namesRights)
	t.Run("applies to the right nodes", s.filters)
	t.Run("checks its health and changes nothing", s.checksHealth)
	t.Run("previews and changes nothing", s.previews)
	t.Run("cleans up, and again after a restart", s.repeats)
	t.Run("verifies its work and changes nothing", s.verifies)
	t.Run("cleans several nodes at once", s.concurs)
	t.Run("withdraws, and again", s.withdraws)
	t.Run("returns soon when it is cancelled", s.stops)
	failures{s.Break, s.Refuse, s.Throttle, func(t *testing.T, situation string) func() error {
		call := s.call(t, s.Node(t, "conformance-"+situation))
		return func() error {
			err := s.bind(t).Cleanup(t.Context(), call.target)
			call.check(err)
			return err
		}
	}}.run(t)
}

func (s Suite) bind(t *testing.T) cleanup.Plugin {
	t.Helper()
	plugin, faults := s.Descriptor.Bind([]byte(s.Options))
	if len(faults) > 0 {
		t.Fatalf("binding options %s: %v", s.Options, faults)
	}
	return plugin
}

func (s Suite) describesItself(t *testing.T) {
	if !regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`).MatchString(s.Descriptor.Name) {
		t.Errorf("%q is not a valid name of a plugin", s.Descriptor.Name)
	}
	if s.Descriptor.Summary == "" || s.Descriptor.Defaults.Timeout <= 0 {
		t.Errorf("no summary or no default timeout: %+v", s.Descriptor)
	}
	if _, faults := s.Descriptor.Bind([]byte(`{"noSuchOption":1}`)); len(faults) == 0 {
		t.Error("an unknown option was accepted")
	}
	if s.Descriptor.OptionNames() == nil {
		t.Error("neither a schema nor the names of the options")
	}
}

func (s Suite) previews(t *testing.T) {
	previewer, can := s.bind(t).(cleanup.Previewer)
	if !can {
		t.Skip("the plugin cannot preview")
	}
	call := s.call(t, s.Node(t, "conformance-preview"))
	before := s.effects(t)
	effects, err := previewer.Preview(t.Context(), call.target)
	data, encodingErr := json.Marshal(effects)
	if encodingErr != nil {
		t.Fatal(encodingErr)
	}
	call.check(err, string(data))
	if err != nil || len(effects) == 0 {
		t.Errorf("previewed %v, %v", effects, err)
	}
	for _, effect := range effects {
		if !regexp.MustCompile(`^[A-Z][A-Za-z]*$`).MatchString(string(effect.Action)) {
			t.Errorf("the action of an effect is %q", effect.Action)
		}
		if effect.Object == (cleanup.Object{}) && effect.Reason == "" {
			t.Errorf("an effect has neither an object nor a reason: %s", effect.Action)
		}
		if effect.Object != (cleanup.Object{}) && (effect.Object.Kind == "" || effect.Object.Name == "") {
			t.Errorf("the object of an effect lacks a kind or a name: %+v", effect.Object)
		}
		if effect.Blocked != nil && (effect.Blocked.Cause == "" || effect.Blocked.Message == "") {
			t.Errorf("a blocked effect lacks a cause or a message: %+v", effect.Blocked)
		}
	}
	if after := s.effects(t); after != before {
		t.Errorf("the preview had %d effects", after-before)
	}
	if said := call.String(); said != "" {
		t.Errorf("the preview does not return what it says, it logs: %s", said)
	}
}

// repeats calls Cleanup twice with the same key, as after a crash of the agent that had not recorded the
// end of the first call.
func (s Suite) repeats(t *testing.T) {
	call := s.call(t, s.Node(t, "conformance-again"))
	before := s.effects(t)
	outputs := map[string]string{}
	for attempt := 1; attempt <= 2; attempt++ {
		plugin := s.bind(t)
		call.target.Attempt = attempt
		err := plugin.Cleanup(t.Context(), call.target)
		call.check(err)
		if err != nil {
			t.Fatalf("attempt %d: %v", attempt, err)
		}
		recorded := call.take()
		s.checkOutputs(t, plugin, recorded)
		before := maps.Clone(outputs)
		maps.Copy(outputs, recorded)
		if attempt > 1 && !maps.Equal(outputs, before) {
			t.Errorf("the outputs were %v, and are %v after a restart", before, outputs)
		}
		call.target.Outputs = map[string]map[string]string{call.target.Step: maps.Clone(outputs)}
	}
	if s.Effects != nil && s.effects(t) == before {
		t.Error("nothing was done, so the test proves nothing")
	}
}

// checkOutputs fails the test if the plugin recorded an output that it does not name.
func (s Suite) checkOutputs(t *testing.T, plugin cleanup.Plugin, recorded map[string]string) {
	namer, can := plugin.(cleanup.OutputNamer)
	if !can {
		if len(recorded) > 0 {
			t.Errorf("the plugin records outputs but is not an OutputNamer: %v", recorded)
		}
		return
	}
	names := namer.OutputNames()
	for name := range recorded {
		if names != nil && !slices.Contains(names, name) {
			t.Errorf("the output %s is not in OutputNames: %v", name, names)
		}
	}
	for _, name := range names {
		if err := cleanup.CheckOutput(name, ""); err != nil {
			t.Error(err)
		}
	}
}

func (s Suite) verifies(t *testing.T) {
	plugin := s.bind(t)
	verifier, can := plugin.(cleanup.Verifier)
	if !can {
		t.Skip("the plugin cannot verify")
	}
	node := s.Node(t, "conformance-verify")
	call := s.call(t, node)
	cleanUp := func() {
		t.Helper()
		if err := plugin.Cleanup(t.Context(), call.target); err != nil {
			t.Fatal(err)
		}
	}
	verify := func() string {
		t.Helper()
		before := s.effects(t)
		undone, err := verifier.Verify(t.Context(), call.target)
		call.check(err, undone)
		if err != nil {
			t.Errorf("verifying: %v", err)
		}
		if s.effects(t) != before {
			t.Error("the verification changed something")
		}
		return undone
	}
	cleanUp()
	if undone := verify(); undone != "" {
		t.Errorf("after the cleanup it is not done: %s", undone)
	}
	if s.Undo == nil {
		return
	}
	s.Undo(t, node)
	if verify() == "" {
		t.Error("the verification did not find undone work")
	}
	call.target.Attempt++
	cleanUp()
	if undone := verify(); undone != "" {
		t.Errorf("after the second cleanup it is not done: %s", undone)
	}
}

func (s Suite) filters(t *testing.T) {
	filter, can := s.bind(t).(cleanup.NodeFilter)
	if !can {
		t.Skip("the plugin applies to every node")
	}
	if applies, reason := filter.Applies(s.Node(t, "conformance-filter")); !applies {
		t.Errorf("the plugin does not apply to the node of the test: %s", reason)
	}
	if s.Exempt == nil {
		t.Fatal("the plugin is a NodeFilter, and the suite has no Exempt")
	}
	if applies, reason := filter.Applies(s.Exempt(t, "conformance-exempt")); applies || reason == "" {
		t.Errorf("for an exempt node the plugin says %v and the reason %q", applies, reason)
	}
}

func (s Suite) namesRights(t *testing.T) {
	plugin := s.bind(t)
	var rules []rbacv1.PolicyRule
	if requirer, can := plugin.(cleanup.RuleRequirer); can {
		rules = append(rules, requirer.Rules()...)
	}
	if requirer, can := plugin.(cleanup.OptionalRuleRequirer); can {
		rules = append(rules, requirer.OptionalRules()...)
	}
	if requirer, can := plugin.(cleanup.NamespaceRuleRequirer); can {
		for namespace, more := range requirer.NamespaceRules() {
			if namespace == "" {
				t.Errorf("rules in a namespace without a name: %+v", more)
			}
			rules = append(rules, more...)
		}
	}
	if runner, can := plugin.(cleanup.PodRunner); can {
		if run := runner.RunsPods(); run.Namespace == "" || run.ServiceAccountName == "" {
			t.Errorf("the Pods have no namespace or no ServiceAccount: %+v", run)
		}
	}
	for _, rule := range rules {
		if len(rule.Verbs) == 0 || len(rule.Resources) == 0 || len(rule.APIGroups) == 0 {
			t.Errorf("a rule lacks verbs, resources or API groups: %+v", rule)
		}
		if slices.Contains(slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups), "*") {
			t.Errorf("a rule grants everything: %+v", rule)
		}
	}
}

func (s Suite) checksHealth(t *testing.T) {
	checker, can := s.bind(t).(cleanup.HealthChecker)
	if !can {
		t.Skip("the plugin has no health check")
	}
	before := s.effects(t)
	call := s.call(t, s.Node(t, "conformance-health"))
	err := checker.CheckHealth(t.Context())
	call.check(err)
	if err != nil {
		t.Errorf("the plugin is unhealthy: %v", err)
	}
	if s.effects(t) != before {
		t.Error("the health check changed something")
	}
	if s.Unhealthy == nil {
		t.Fatal("the plugin is a HealthChecker, and the suite has no Unhealthy")
	}
	s.Unhealthy(t)
	err = s.bind(t).(cleanup.HealthChecker).CheckHealth(t.Context())
	call.check(err)
	if err == nil {
		t.Error("the health check did not fail")
	}
}

func (s Suite) concurs(t *testing.T) {
	plugin := s.bind(t)
	var calls []*call
	for i := range 3 {
		calls = append(calls, s.call(t, s.Node(t, fmt.Sprintf("conformance-%d", i))))
	}
	var group sync.WaitGroup
	for _, call := range calls {
		group.Go(func() {
			err := plugin.Cleanup(t.Context(), call.target)
			call.check(err)
			if err != nil {
				t.Errorf("node %s: %v", call.target.Node.Name, err)
			}
		})
	}
	group.Wait()
}

func (s Suite) stops(t *testing.T) {
	if s.Hang == nil {
		t.Skip("the plugin never waits")
	}
	node := s.Node(t, "conformance-hang")
	waiting := s.Hang(t, node)
	plugin, call := s.bind(t), s.call(t, node)
	err := canceled(t, waiting, func(ctx context.Context) error { return plugin.Cleanup(ctx, call.target) })
	call.check(err)
	if err == nil {
		t.Error("the plugin says that it is done")
	}
	isRetriable(t, err)
}

// withdraws calls Withdraw twice, for a Node whose cleanup never began.
func (s Suite) withdraws(t *testing.T) {
	withdrawer, can := s.bind(t).(cleanup.Withdrawer)
	if !can {
		t.Skip("the plugin has nothing to withdraw")
	}
	call := s.call(t, s.Node(t, "conformance-withdraw"))
	for range 2 {
		err := withdrawer.Withdraw(t.Context(), call.target)
		call.check(err)
		if err != nil {
			t.Errorf("withdrawing: %v", err)
		}
	}
}

func (s Suite) effects(t *testing.T) int {
	if s.Effects == nil {
		return 0
	}
	return s.Effects(t)
}
