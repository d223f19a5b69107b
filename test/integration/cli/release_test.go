package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// abandoned returns a deleted node with a cleanup in progress, whose agent has stopped.
func abandoned(t *testing.T, client kubernetes.Interface, name string, more ...string) *corev1.Node {
	t.Helper()
	makeNode(t, client, name, finalizers(append(more, api.Finalizer)...))
	deleteNode(t, client, name)
	node := getNode(t, client, name)
	at := metav1.Now()
	record, err := api.EncodeRun(api.Namespace, &api.Run{
		Node: name, NodeUID: node.UID, ConfigHash: "c", PlanHash: "p", State: api.Running, Message: "running", StartedAt: at, DeletionRequestedAt: node.DeletionTimestamp,
		Steps: []api.StepRun{
			{Name: "drain", Plugin: "drain", Critical: true, State: api.StepSucceeded, Attempts: 1, StartedAt: &at, FinishedAt: &at},
			{Name: "storage", Plugin: "http", Critical: true, State: api.StepRunning, Attempts: 1, Progress: "3 volumes left", StartedAt: &at},
			{Name: "tell", Plugin: "http", State: api.StepPending},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps(api.Namespace).Create(t.Context(), record, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return node
}

func recordOf(t *testing.T, client kubernetes.Interface, node *corev1.Node) *api.Run {
	t.Helper()
	configMap, err := client.CoreV1().ConfigMaps(api.Namespace).Get(t.Context(), api.RunName(node.Name, node.UID), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	run, err := api.DecodeRun(configMap)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func wantDeleted(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	if node, err := client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("node %s is there: %v, %v", name, node.Finalizers, err)
	}
}

// bypassEvents returns the messages of the Events about a bypass of a node.
func bypassEvents(t *testing.T, client kubernetes.Interface, node *corev1.Node) []string {
	t.Helper()
	list, err := client.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=CleanupBypassed,involvedObject.uid=" + string(node.UID)})
	if err != nil {
		t.Fatal(err)
	}
	var messages []string
	for _, event := range list.Items {
		messages = append(messages, event.Message)
	}
	return messages
}

func TestBypassWithoutAnAgentUpdatesTheRecord(t *testing.T) {
	client := admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	node := abandoned(t, client, "stuck")
	wantText(t, want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "diagnose", "stuck")).out, "no agent", "kubectl nodecleanup bypass stuck")
	asked := want(t, exit.Usage, run(t, shared.Kubeconfig(), "bypass", "stuck", "--reason", "hardware lost"))
	wantText(t, asked.errOut, "No agent in namespace "+api.Namespace+" is the leader. This command records the bypass and releases", "steps not done: storage, tell", "--yes")

	wantText(t, must(t, "bypass", "stuck", "--reason", "hardware lost", "--yes").out, "node/stuck bypassed and released\n")
	wantDeleted(t, client, "stuck")
	record := recordOf(t, client, node)
	if record.State != api.Bypassed || record.Bypasser() != "admin" || record.BypassReason != "hardware lost" || record.FinishedAt == nil ||
		record.Message != "bypassed by admin: hardware lost; released by kubectl nodecleanup because no agent was leading; steps not done: storage, tell" {
		t.Errorf("the record is %+v", record)
	}
	if step := record.Step("storage"); step.State != api.StepFailed || !strings.HasPrefix(step.LastError, "interrupted: no agent") || step.FinishedAt == nil {
		t.Errorf("the interrupted step is %+v", step)
	}
	if record.Step("drain").State != api.StepSucceeded || record.Step("tell").State != api.StepPending {
		t.Errorf("the steps are %+v", record.Steps)
	}
	events := bypassEvents(t, client, node)
	if len(events) != 1 || !strings.Contains(events[0], "Cleanup bypassed by admin, ") || !strings.Contains(events[0], "Reason: hardware lost. No agent is the leader, so the CLI releases the node; steps not done: storage, tell") {
		t.Errorf("the Events are %q", events)
	}
	wantText(t, must(t, "history", "stuck").out, "Bypassed", "bypassed by admin: hardware lost")
	wantText(t, must(t, "diagnose", "stuck").out, "Node stuck no longer exists.", "Bypassed")
}

// No agent has ever seen the node, and another finalizer holds it afterwards.
func TestBypassWithoutAnAgentCreatesAMissingRecord(t *testing.T) {
	client := admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	makeNode(t, client, "new", finalizers("example.com/other", api.Finalizer))
	deleteNode(t, client, "new")
	must(t, "bypass", "new", "--reason", "hardware lost", "--yes")
	node := getNode(t, client, "new")
	if len(node.Finalizers) != 1 || node.Finalizers[0] != "example.com/other" {
		t.Errorf("finalizers %v", node.Finalizers)
	}
	record := recordOf(t, client, node)
	if record.State != api.Bypassed || len(record.Steps) == 0 || record.Steps[0].State != api.StepPending || record.PlanHash == "" {
		t.Errorf("the record is %+v", record)
	}
	wantText(t, want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "diagnose", "new")).out, "nodecleanup has released the node; other finalizers block its deletion: example.com/other")
	wantText(t, run(t, shared.Kubeconfig(), "nodes", "list").out, "Released")
	wantText(t, must(t, "bypass", "new", "--reason", "again", "--yes").errOut, "nodecleanup does not block the deletion of node new, but these finalizers do: example.com/other")
}

func TestUnrecordedBypassReleasesNothing(t *testing.T) {
	client := admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	allow := func(user string, rules ...rbacv1.PolicyRule) string {
		t.Helper()
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "patch", "bypass"}},
			rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get"}})
		if _, err := client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			for _, err := range []error{client.RbacV1().ClusterRoleBindings().Delete(ctx, user, metav1.DeleteOptions{}), client.RbacV1().ClusterRoles().Delete(ctx, user, metav1.DeleteOptions{})} {
				if err != nil {
					t.Error(err)
				}
			}
		})
		kubeconfig := kubeconfigFor(t, user)
		if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
			return run(t, kubeconfig, "bypass", "nobody", "--reason", "r", "--yes", "-n", api.Namespace).code == exit.Failure &&
				!strings.Contains(run(t, kubeconfig, "retry", "nobody", "-n", api.Namespace).errOut, "forbidden"), nil
		}); err != nil {
			t.Fatal(err)
		}
		return kubeconfig
	}
	configMaps := func(verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: verbs}
	}
	for user, test := range map[string]struct {
		rules []rbacv1.PolicyRule
		says  string
	}{
		"no-record": {[]rbacv1.PolicyRule{configMaps("get")}, "writing run record"},
		"no-event":  {[]rbacv1.PolicyRule{configMaps("get", "create", "update")}, "writing the Event"},
	} {
		node := abandoned(t, client, user)
		failed := want(t, exit.Failure, run(t, allow(user, test.rules...), "bypass", user, "--reason", "hardware lost", "--yes", "-n", api.Namespace))
		patch := fmt.Sprintf(`{"metadata":{"$deleteFromPrimitiveList/finalizers":["nodecleanup.io/finalizer"],"uid":"%s"}}`, node.UID)
		wantText(t, failed.errOut, test.says, "the node was not released", "kubectl patch node "+user+" -p '"+patch+"'")
		if current := getNode(t, client, user); !api.HasFinalizer(current) {
			t.Errorf("%s: the node was released", user)
		}
		if record := recordOf(t, client, node); record.State != api.Running || record.BypassedBy != "" || record.Step("storage").State != api.StepRunning {
			t.Errorf("%s: the record is %+v", user, record)
		}
		operator := kubernetes.NewForConfigOrDie(shared.RESTConfigFor(user))
		if _, err := operator.CoreV1().Nodes().Patch(t.Context(), user, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Errorf("%s: removing the bypass: %v", user, err)
		}
		wantDeleted(t, client, user)
	}
}

// requestOf names a write of a bypass without an agent.
func requestOf(t *testing.T, r *http.Request) string {
	t.Helper()
	switch {
	case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/configmaps/run-"):
		return "read"
	case r.Method == http.MethodGet || r.Method == http.MethodPost && strings.Contains(r.URL.Path, "selfsubjectreviews"):
		return ""
	case strings.Contains(r.URL.Path, "/configmaps"):
		return "record"
	case strings.Contains(r.URL.Path, "/events"):
		return "event"
	case r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/nodes/"):
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if strings.Contains(string(body), "deleteFromPrimitiveList") {
			return "release"
		}
		return "mark"
	}
	return ""
}

// before returns a kubeconfig of an administrator; the function is called before its first request of
// a kind. Reads count after the mark.
func before(t *testing.T, request string, act func()) string {
	var once sync.Once
	var marked atomic.Bool
	return proxy(t, func(_ http.ResponseWriter, r *http.Request) bool {
		found := requestOf(t, r)
		if found == request && (found != "read" || marked.Load()) {
			once.Do(act)
		}
		if found == "mark" {
			marked.Store(true)
		}
		return false
	})
}

// In any order, the record names the user who released the node.
func TestConcurrentBypassesRecordTheEffectiveOne(t *testing.T) {
	client := admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	bob := kubeconfigFor(t, "bob", "system:masters")
	for _, request := range []string{"mark", "read", "record", "event", "release"} {
		node := abandoned(t, client, request)
		slow := before(t, request, func() {
			if result := run(t, bob, "bypass", request, "--reason", "b", "--yes"); result.code != exit.OK {
				t.Errorf("%s: bob's bypass exits %d", request, result.code)
			}
		})
		result := run(t, slow, "bypass", request, "--reason", "a", "--yes")
		if request == "mark" {
			wantText(t, want(t, exit.Failure, result).errOut, "the node was deleted")
		} else {
			wantText(t, want(t, exit.OK, result).errOut, "Another user or an agent has released the node")
		}
		if strings.Contains(result.out, "released") {
			t.Errorf("%s: it says that it has released the node", request)
		}
		wantDeleted(t, client, request)
		if record := recordOf(t, client, node); record.BypassedBy != "bob" || record.BypassReason != "b" || record.State != api.Bypassed {
			t.Errorf("%s: the record is %+v", request, record)
		}
	}
}

func TestWithdrawnBypassReleasesNothing(t *testing.T) {
	client := admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	node := abandoned(t, client, "stuck")
	slow := before(t, "release", func() {
		if _, err := client.CoreV1().Nodes().Patch(t.Context(), "stuck", types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+api.AnnotationBypass+`":null}}}`), metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	})
	wantText(t, want(t, exit.Failure, run(t, slow, "bypass", "stuck", "--reason", "a", "--yes")).errOut, "the bypass was changed or removed in the meantime; this command has not released it")
	if !api.HasFinalizer(getNode(t, client, "stuck")) {
		t.Error("the node was released")
	}
	if record := recordOf(t, client, node); record.State != api.Running || record.BypassedBy != "" {
		t.Errorf("the record is %+v", record)
	}
}

// A kubelet writes its node every few seconds.
func TestHeartbeatDoesNotStopABypass(t *testing.T) {
	client := admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	node := abandoned(t, client, "stuck")
	slow := before(t, "release", func() {
		if _, err := client.CoreV1().Nodes().Patch(t.Context(), "stuck", types.MergePatchType, []byte(`{"metadata":{"labels":{"beat":"1"}}}`), metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	})
	wantText(t, want(t, exit.OK, run(t, slow, "bypass", "stuck", "--reason", "a", "--yes")).out, "node/stuck bypassed and released")
	wantDeleted(t, client, "stuck")
	if events := bypassEvents(t, client, node); len(events) != 1 {
		t.Errorf("the Events are %q", events)
	}
}
