package soak_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/soak/checker"
)

// config has short timeouts, and a cleanup never gives up: it fails only by an error that no
// retry changes.
const config = `apiVersion: nodecleanup.io/v1alpha1
kind: Config
concurrency: {nodes: 20}
retry: {maxRetries: 100000, initialDelay: 200ms, maxDelay: 3s}
steps:
- {name: drain, plugin: drain, timeout: 20s, options: {allowUnmanaged: true}}
- {name: volumes, plugin: volumes, timeout: 15s, dependsOn: [drain]}
- {name: inventory, plugin: http, timeout: 2s, dependsOn: [volumes], options: {url: "%s"}}
- {name: log, plugin: logger, critical: true, dependsOn: [inventory]}
`

// world is the cluster and everything that happens in it.
type world struct {
	*testing.T
	admin, editor, operator kubernetes.Interface
	inventory               *inventory
	hook                    *proxy
	agents                  []*agent
	attacher                *attacher
	random                  *rand.Rand

	// checking guards the checker, whose state is also the view of the actions.
	checking sync.Mutex
	checker  *checker.Checker

	// created counts nodes, for their names.
	created int
	outages map[string]outage
	repairs sync.WaitGroup
	counted counts
}

// outage is something that is broken, until a time.
type outage struct {
	until  time.Time
	repair func(context.Context) error
}

// counts are the numbers of events, by name.
type counts struct {
	mutex sync.Mutex
	of    map[string]int
}

func (c *counts) add(what string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.of == nil {
		c.of = map[string]int{}
	}
	c.of[what]++
}

// String returns one line for each name.
func (c *counts) String() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var text strings.Builder
	for _, what := range slices.Sorted(maps.Keys(c.of)) {
		fmt.Fprintf(&text, "\n%6d %s", c.of[what], what)
	}
	return text.String()
}

func newWorld(t *testing.T, seed uint64) *world {
	client := func(user, group string) kubernetes.Interface {
		config := shared.RESTConfigFor(user, group)
		config.WarningHandler = rest.NoWarnings{}
		return kubernetes.NewForConfigOrDie(config)
	}
	w := &world{
		T: t, admin: client("admin", "system:masters"), editor: client("ed", "editors"), operator: client("olga", "operators"),
		random: rand.New(rand.NewPCG(seed, 0)), outages: map[string]outage{},
	}
	w.inventory = newInventory(t, rand.New(rand.NewPCG(seed, 1)))
	w.checker = checker.New(checker.Options{
		Namespace: api.Namespace, Steps: []string{"drain", "volumes", "inventory", "log"}, Calls: []string{"inventory"},
		Called: w.inventory.has, Window: window,
	})
	w.watch()
	addresses := []string{freeAddress(t), freeAddress(t)}
	w.hook = newProxy(t, addresses...)
	if _, err := (install.Applier{Objects: dynamic.NewForConfigOrDie(shared.RESTConfig())}).Apply(t.Context(), install.Options{
		// With the policy there would be no outage of the webhook.
		Admission: install.AdmissionWebhook, AgentURL: fmt.Sprintf("https://127.0.0.1:%d", w.hook.port),
		Config: fmt.Appendf(nil, config, w.inventory.URL),
	}); err != nil {
		t.Fatalf("installing: %v", err)
	}
	w.grant("editors", "soak-editor", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "patch"}})
	w.grant("operators", api.Operator)
	w.attacher = newAttacher(w, rand.New(rand.NewPCG(seed, 2)))
	binary := buildAgent(t)
	for i, address := range addresses {
		a := newAgent(t, fmt.Sprintf("agent-%d", i), binary, address)
		if err := a.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.agents = append(w.agents, a)
	}
	w.eventually(time.Minute, "the webhook answers", func(ctx context.Context) (bool, error) {
		node, err := w.admin.CoreV1().Nodes().Create(ctx, cluster.MakeNode("probe", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && api.HasFinalizer(node), err
	})
	return w
}

// window is how long before the end of its record a verification can have begun, on a machine
// that is busy; 0.2 s is usual.
const window = 1500 * time.Millisecond

// watch feeds the checker until the test ends.
func (w *world) watch() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	var watching sync.WaitGroup
	watching.Go(func() {
		err := checker.Watch(ctx, shared.EtcdURL(), func(event checker.Event) {
			w.checking.Lock()
			defer w.checking.Unlock()
			w.checker.Apply(event)
		})
		if ctx.Err() == nil {
			w.Errorf("the checker has seen the end of the history too early: %v", err)
		}
	})
	w.Cleanup(func() { cancel(); watching.Wait() })
}

// grant binds a group to a ClusterRole, which is created if there are rules.
func (w *world) grant(group, role string, rules ...rbacv1.PolicyRule) {
	w.Helper()
	if len(rules) > 0 {
		if _, err := w.admin.RbacV1().ClusterRoles().Create(w.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role}, Rules: rules}, metav1.CreateOptions{}); err != nil {
			w.Fatal(err)
		}
	}
	if _, err := w.admin.RbacV1().ClusterRoleBindings().Create(w.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: group},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: group}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) eventually(limit time.Duration, what string, condition wait.ConditionWithContextFunc) {
	w.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(w.Context(), 200*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		var done bool
		done, last = condition(ctx)
		return done, nil
	}); err != nil {
		w.Fatalf("waiting until %s: %v", what, errors.Join(err, last))
	}
}

// nodes returns the Nodes of the cluster now for which all conditions hold.
func (w *world) nodes(conditions ...func(*corev1.Node) bool) []*corev1.Node {
	w.checking.Lock()
	defer w.checking.Unlock()
	return slices.DeleteFunc(w.checker.Nodes(), func(node *corev1.Node) bool {
		return slices.ContainsFunc(conditions, func(holds func(*corev1.Node) bool) bool { return !holds(node) })
	})
}

func live(node *corev1.Node) bool        { return node.DeletionTimestamp == nil }
func terminating(node *corev1.Node) bool { return node.DeletionTimestamp != nil }
func held(node *corev1.Node) bool        { return api.HasFinalizer(node) }
func cordoned(node *corev1.Node) bool    { return node.Spec.Unschedulable }
func requested(node *corev1.Node) bool {
	return node.Annotations[api.AnnotationCleanupRequestedAt] != ""
}

// pick returns one of the things, or the zero value if there is none.
func pick[T any](random *rand.Rand, things []T) T {
	var none T
	if len(things) == 0 {
		return none
	}
	return things[random.IntN(len(things))]
}

// merge patches a Node of a UID.
func merge(ctx context.Context, client kubernetes.Interface, node *corev1.Node, patch string) (*corev1.Node, error) {
	patch = strings.Replace(patch, `"metadata":{`, `"metadata":{"uid":"`+string(node.UID)+`",`, 1)
	return client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
}

// annotate sets annotations of a Node, as an operator does.
func (w *world) annotate(ctx context.Context, node *corev1.Node, annotations string) error {
	_, err := merge(ctx, w.operator, node, `{"metadata":{"annotations":{`+annotations+`}}}`)
	return err
}

// quote names an error shortly, for the counts.
func quote(err error) string {
	switch reason := apierrors.ReasonForError(err); {
	case err == nil:
		return "done"
	case reason != metav1.StatusReasonUnknown:
		return string(reason)
	}
	return "no answer"
}
