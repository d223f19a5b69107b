package drain_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func TestRulesOrderSkipAndAwaitPods(t *testing.T) {
	f := setUp(t)
	// In the order of their names they would go the other way round.
	f.pod("a-last", f.node)
	f.pod("b-later", f.node)
	f.pod("c-job", f.node, unmanaged)
	f.pod("d-first", f.node)
	f.pod("e-agent", f.node, unmanaged)
	plugin := f.plugin(`{"rules":[
		{"selector":{"matchLabels":{"app":"a-last"}},"action":"last"},
		{"selector":{"matchLabels":{"app":"b-later"}},"order":7},
		{"selector":{"matchLabels":{"app":"c-job"}},"action":"waitCompleted"},
		{"selector":{"matchLabels":{"app":"d-first"}},"order":-7,"gracePeriodSeconds":1},
		{"selector":{"matchLabels":{"app":"e-agent"}},"action":"skip"}]}`)
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil {
		t.Fatal(err)
	}
	var would []string
	for _, effect := range effects[1:] {
		would = append(would, strings.ReplaceAll(effect.String(), f.namespace+"/", ""))
	}
	if want := []string{"evict a-last (last of its group, rules[0])", "evict b-later (order 7, rules[1])", "wait c-job (not evicted, waiting for it to complete (rules[2]))", "evict d-first (order -7, rules[3])", "skip e-agent (skipped by rules[4])"}; !slices.Equal(would, want) {
		t.Errorf("it would %q, want %q", would, want)
	}
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	target := f.target()
	go func() { ended <- plugin.Cleanup(t.Context(), target) }()
	f.eventually("the drain waits for the job", func(context.Context) (bool, error) {
		return f.said("4 pods remaining: ") && f.said("/c-job (waiting for it to complete, rules[2])"), nil
	})
	f.deleted("d-first")
	order, err := f.podRequestsSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(order, func(request string) bool { return !strings.HasSuffix(request, "d-first") }) {
		t.Errorf("the drain did not wait for the job: %q", order)
	}
	if _, err := f.client.CoreV1().Pods(f.namespace).Patch(t.Context(), "c-job", types.StrategicMergePatchType, []byte(`{"status":{"phase":"Succeeded"}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if left := slices.Sorted(maps.Keys(f.pods())); !slices.Equal(left, []string{"c-job", "e-agent"}) {
		t.Errorf("pods left: %q", left)
	}
	want := []string{"create d-first", "delete d-first", "create b-later", "delete b-later", "create a-last", "delete a-last"}
	f.eventually("the last deletion is in the audit log", func(context.Context) (bool, error) {
		order, err := f.podRequestsSince(mark)
		if err == nil && len(order) >= len(want) && !slices.Equal(order, want) {
			t.Fatalf("order is %q, want %q", order, want)
		}
		return slices.Equal(order, want), err
	})
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), target); undone != "" || err != nil {
		t.Errorf("undone: %q, %v", undone, err)
	}
}

// bind binds the app's only Pod without a Node, as a scheduler does.
func (f *fixture) bind(app, node string) (bound *corev1.Pod) {
	f.Helper()
	f.eventually("a Pod of "+app+" is pending", func(ctx context.Context) (bool, error) {
		list, err := f.client.CoreV1().Pods(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app, FieldSelector: "spec.nodeName="})
		if err != nil || len(list.Items) == 0 {
			return false, err
		}
		bound = &list.Items[0]
		return true, nil
	})
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: bound.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	if err := f.client.CoreV1().Pods(f.namespace).Bind(f.Context(), binding, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	return bound
}

// Such as a change freeze: the step must not use up its attempts until it ends.
func TestDeniedRolloutRestartIsRetried(t *testing.T) {
	f := setUp(t)
	f.newDeployment("cart", 1)
	f.bind("cart", f.node.Name)
	f.deny(admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
	}, "object.spec == oldObject.spec", "change freeze")
	f.eventually("the policy is in force", func(ctx context.Context) (bool, error) {
		_, err := f.client.AppsV1().Deployments(f.namespace).Patch(ctx, "cart", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- f.plugin(`{"rules":[{"selector":{"matchLabels":{"app":"cart"}},"action":"rolloutRestart"}]}`).Cleanup(ctx, f.target())
	}()
	f.eventually("the drain says which policy denies it", func(context.Context) (bool, error) {
		select {
		case err := <-ended:
			return false, fmt.Errorf("the drain ended: %w", err)
		default:
			return f.said("change freeze; see what the policy requires: kubectl describe validatingadmissionpolicy " + f.namespace), nil
		}
	})
	cancel()
	<-ended
}

// A budget that wants the only replica blocks each eviction for ever.
func TestRolloutRestartReplacesTheOnlyReplica(t *testing.T) {
	f := setUp(t)
	elsewhere := f.createNode(f.namespace + "-elsewhere")
	f.newDeployment("cart", 1)
	old := f.bind("cart", f.node.Name)
	f.budget("cart", 1)
	plugin := f.plugin(`{"rules":[{"selector":{"matchLabels":{"app":"cart"}},"action":"rolloutRestart"}]}`)
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil || len(effects) != 2 || effects[1].String() != "restart Deployment "+f.namespace+"/cart (its rollout replaces pod "+f.namespace+"/"+old.Name+")" {
		t.Errorf("effects are %v, %v", effects, err)
	}
	target := f.target()
	for _, cut := range []bool{true, false} { // The first attempt is cut off.
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		ended := make(chan error, 1)
		go func() { ended <- plugin.Cleanup(ctx, target) }()
		f.eventually("the drain waits for the rollout", func(context.Context) (bool, error) {
			return f.said("1 pod remaining: " + f.namespace + "/" + old.Name + " (waiting for the rollout of Deployment " + f.namespace + "/cart)"), nil
		})
		if cut {
			cancel()
			if err := <-ended; err == nil {
				t.Error("the drain is done before the rollout")
			}
			f.forget()
			continue
		}
		if f.pods()[old.Name] != f.node.Name {
			t.Error("the old Pod is deleted before the new one is ready")
		}
		f.bind("cart", elsewhere.Name)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	if pods := f.pods(); len(pods) != 1 || pods[old.Name] != "" {
		t.Errorf("pods: %v", pods)
	}
	if f.evicted(old) {
		t.Error("the Pod was evicted")
	}
	deployment, err := f.client.AppsV1().Deployments(f.namespace).Get(t.Context(), "cart", metav1.GetOptions{})
	if err != nil || deployment.Generation != 2 {
		t.Errorf("generation %d, %v: it was not restarted once", deployment.Generation, err)
	}
}

// Its controller ignores cordons and creates the Pod again.
func TestPodsOfADaemonSetAreEvictedLastAndOnce(t *testing.T) {
	f := setUp(t)
	labels := map[string]string{"app": "log"}
	template := cluster.MakePod(f.namespace, "log", "").Spec
	template.NodeSelector = map[string]string{corev1.LabelHostname: f.node.Name}
	if _, err := f.client.AppsV1().DaemonSets(f.namespace).Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "log"},
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: template}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	daemon := f.bind("log", f.node.Name)
	f.pod("shop", f.node)
	f.eventually("the step begins in a later second", func(context.Context) (bool, error) {
		return time.Now().Truncate(time.Second).After(daemon.CreationTimestamp.Time), nil
	})
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	plugin, target := f.plugin(`{"daemonSets":"evictLast"}`), f.target()
	for range 2 {
		if err := plugin.Cleanup(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		if _, there := f.pods()[daemon.Name]; there {
			t.Error("the Pod of the DaemonSet was not evicted")
		}
		if again := f.pods(); len(again) == 0 || slices.Contains(slices.Collect(maps.Values(again)), "") {
			f.bind("log", f.node.Name)
		}
		if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), target); undone != "" || err != nil {
			t.Errorf("undone: %q, %v", undone, err)
		}
	}
	want := []string{"create shop", "delete shop", "create " + daemon.Name, "delete " + daemon.Name}
	f.eventually("the last deletion is in the audit log", func(context.Context) (bool, error) {
		order, err := f.podRequestsSince(mark)
		if err == nil && len(order) >= len(want) && !slices.Equal(order, want) {
			t.Fatalf("order is %q, want %q", order, want)
		}
		return slices.Equal(order, want), err
	})
}
