package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

const othersFinalizer = "example.com/theirs"

// actAsAgent creates the objects that a crashed agent leaves.
func actAsAgent(t *testing.T, client kubernetes.Interface, namespace string, nodes ...*corev1.Node) {
	t.Helper()
	status, err := api.EncodeStatus(namespace, &api.AgentStatus{Version: "v1.2.3", Leader: "gone"})
	if err != nil {
		t.Fatal(err)
	}
	configMaps := []*corev1.ConfigMap{status}
	for _, node := range nodes {
		record, err := api.EncodeRun(namespace, &api.Run{
			Node: node.Name, NodeUID: node.UID, State: api.Running,
			Steps: []api.StepRun{
				{Name: "drain", Plugin: "drain", Critical: true, State: api.StepSucceeded},
				{Name: "storage", Plugin: "http", Critical: true, State: api.StepRunning, Progress: "3 volumes left"},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		configMaps = append(configMaps, record)
	}
	for _, configMap := range configMaps {
		if _, err := client.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// Without a label, as an agent might make it.
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: api.CASecretName}}
	if _, err := client.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	renewLease(t, client, namespace, "gone", time.Now().Add(-time.Hour))
}

func renewLease(t *testing.T, client kubernetes.Interface, namespace, holder string, at time.Time) {
	t.Helper()
	leases := client.CoordinationV1().Leases(namespace)
	if err := leases.Delete(t.Context(), api.Agent, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: api.Agent},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To(holder), LeaseDurationSeconds: ptr.To[int32](15), RenewTime: ptr.To(metav1.NewMicroTime(at)),
		},
	}
	if _, err := leases.Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// wantNothingOfOurs wants no object of an install or an agent, and nothing on a node.
func wantNothingOfOurs(t *testing.T, client kubernetes.Interface, namespace string) {
	t.Helper()
	ctx, ours := t.Context(), metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.LabelNameValue}
	count := func(what string, number int, err error) {
		t.Helper()
		if err != nil || number > 0 {
			t.Errorf("%d %s left, error %v", number, what, err)
		}
	}
	webhooks, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, ours)
	count("webhook configurations", len(webhooks.Items), err)
	guards, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, ours)
	count("validating webhook configurations", len(guards.Items), err)
	roles, err := client.RbacV1().ClusterRoles().List(ctx, ours)
	count("cluster roles", len(roles.Items), err)
	bindings, err := client.RbacV1().ClusterRoleBindings().List(ctx, ours)
	count("cluster role bindings", len(bindings.Items), err)
	// In every namespace: the agent's right to write Events about nodes is in another one.
	localRoles, err := client.RbacV1().Roles(metav1.NamespaceAll).List(ctx, ours)
	count("roles", len(localRoles.Items), err)
	localBindings, err := client.RbacV1().RoleBindings(metav1.NamespaceAll).List(ctx, ours)
	count("role bindings", len(localBindings.Items), err)
	policies, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(ctx, ours)
	count("validating admission policies", len(policies.Items), err)
	deployments, err := client.AppsV1().Deployments(namespace).List(ctx, ours)
	count("deployments", len(deployments.Items), err)
	pods, err := client.CoreV1().Pods(namespace).List(ctx, ours)
	count("pods", len(pods.Items), err)
	accounts, err := client.CoreV1().ServiceAccounts(namespace).List(ctx, ours)
	count("service accounts", len(accounts.Items), err)
	services, err := client.CoreV1().Services(namespace).List(ctx, ours)
	count("services", len(services.Items), err)
	configMaps, err := client.CoreV1().ConfigMaps(namespace).List(ctx, ours)
	count("config maps", len(configMaps.Items), err)
	for name, err := range map[string]error{
		"secret": second(client.CoreV1().Secrets(namespace).Get(ctx, api.CASecretName, metav1.GetOptions{})),
		"lease":  second(client.CoordinationV1().Leases(namespace).Get(ctx, api.Agent, metav1.GetOptions{})),
	} {
		if !apierrors.IsNotFound(err) {
			t.Errorf("the %s is left, error %v", name, err)
		}
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		if api.HasFinalizer(&node) || api.CleanupConditionOf(&node) != nil || strings.Contains(strings.Join(keys(node.Annotations), " "), "nodecleanup.io") {
			t.Errorf("node %s still has finalizers %v, annotations %v, condition %v", node.Name, node.Finalizers, node.Annotations, api.CleanupConditionOf(&node))
		}
	}
}

func second[T any](_ T, err error) error { return err }

func keys(m map[string]string) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	return names
}

func TestUninstallWithADeadAgentLeavesNothing(t *testing.T) {
	client := admin(t)
	makeNode(t, client, "plain", finalizers(api.Finalizer))
	makeNode(t, client, "unprotected", nil)
	shown := makeNode(t, client, "marked", func(node *corev1.Node) {
		node.Finalizers = []string{othersFinalizer, api.Finalizer}
		node.Annotations = map[string]string{api.AnnotationCordonedBy: "run", api.AnnotationBypass: "true", api.AnnotationBypassBy: "admin", "example.com/kept": "yes"}
		node.Spec.Unschedulable = true
		node.Status.Conditions = []corev1.NodeCondition{
			api.CleanupCondition(api.Failed, "", metav1.Now()), {Type: "example.com/Kept", Status: corev1.ConditionTrue},
		}
	})
	must(t, "install")
	actAsAgent(t, client, api.Namespace, shown)
	operators := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "slack"}}
	if _, err := client.CoreV1().Secrets(api.Namespace).Create(t.Context(), operators, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	if _, err := client.CoreV1().PersistentVolumeClaims(api.Namespace).Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	theirs := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "theirs"}},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "theirs"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "registry.example/a"}}},
		},
	}}
	if _, err := client.AppsV1().Deployments(api.Namespace).Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	const user = "remover"
	mark := auditMark(t)
	rehearsal := want(t, exit.OK, run(t, kubeconfigFor(t, user, "system:masters"), "uninstall", "--dry-run"))
	wantNoWrites(t, requestsOf(t, user, mark))
	wantText(t, rehearsal.out, "marks on nodes: 2 (with the finalizer: 2)", "secret/slack", "persistentvolumeclaim/data", "deployment.apps/theirs", "kubectl uncordon marked")

	withoutYes := want(t, exit.Usage, run(t, kubeconfigFor(t, user, "system:masters"), "uninstall"))
	wantText(t, withoutYes.errOut, "--yes")
	wantNoWrites(t, requestsOf(t, user, mark))

	want(t, exit.OK, run(t, kubeconfigFor(t, user, "system:masters"), "uninstall", "--yes"))
	wantNothingOfOurs(t, client, api.Namespace)
	_, err := client.CoreV1().Namespaces().Get(t.Context(), api.Namespace, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the namespace is still there: %v", err)
	}
	left := getNode(t, client, "marked")
	if !slices.Equal(left.Finalizers, []string{othersFinalizer}) {
		t.Errorf("finalizers left: %v, want that of the other controller", left.Finalizers)
	}
	if left.Annotations["example.com/kept"] != "yes" || !slices.ContainsFunc(left.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == "example.com/Kept" }) {
		t.Errorf("what others wrote is deleted: %v %v", left.Annotations, left.Status.Conditions)
	}
	wantOrder(t, user)

	again := must(t, "uninstall", "--yes")
	wantText(t, again.errOut, "nothing to remove")
}

// wantOrder wants admission removed first, rights last, nodes released between.
func wantOrder(t *testing.T, user string) {
	t.Helper()
	var order []string
	for _, request := range requestsOf(t, user, 0) {
		if request.Verb == "delete" || request.Verb == "patch" {
			order = append(order, request.Resource)
		}
	}
	at := func(resource string) int { return slices.Index(order, resource) }
	sequence := []string{"mutatingwebhookconfigurations", "deployments", "nodes", "configmaps", "clusterrolebindings", "serviceaccounts", "namespaces"}
	for i := 1; i < len(sequence); i++ {
		if at(sequence[i-1]) < 0 || at(sequence[i-1]) > at(sequence[i]) {
			t.Errorf("%s is not removed before %s: %v", sequence[i-1], sequence[i], order)
		}
	}
}

func TestUninstallRefusesWhileANodeIsCleanedUp(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, "refusing")
	node := makeNode(t, client, "leaving", finalizers(api.Finalizer))
	must(t, "install", "-n", "refusing", "--agent-url", "https://127.0.0.1:1")
	actAsAgent(t, client, "refusing", node)
	deleteNode(t, client, "leaving")

	const user = "hasty"
	mark := auditMark(t)
	refused := want(t, exit.Failure, run(t, kubeconfigFor(t, user, "system:masters"), "uninstall", "--yes"))
	wantText(t, refused.errOut, "node/leaving: will be released immediately; steps not done: storage", "--force")
	wantNoWrites(t, requestsOf(t, user, mark))

	must(t, "uninstall", "--yes", "--force", "--keep-history")
	_, err := client.CoreV1().Nodes().Get(t.Context(), "leaving", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("--force left the node: %v", err)
	}
	record, err := client.CoreV1().ConfigMaps("refusing").Get(t.Context(), api.RunName("leaving", node.UID), metav1.GetOptions{})
	if err != nil || record.Labels[api.LabelRun] == "" {
		t.Errorf("--keep-history did not keep the run record: %v", err)
	}
}

func TestUninstallRefusesWhileAnAgentRunsOutsideTheCluster(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, "outside")
	makeNode(t, client, "kept", finalizers(api.Finalizer))
	must(t, "install", "-n", "outside", "--agent-url", "https://127.0.0.1:1")
	kill := lead(t, client, "outside", "laptop")

	const user = "hasty-outside"
	mark := auditMark(t)
	for _, more := range [][]string{{"--yes"}, {"--yes", "--force"}, {"--dry-run"}} {
		refused := want(t, exit.Failure, run(t, kubeconfigFor(t, user, "system:masters"), append([]string{"uninstall"}, more...)...))
		wantText(t, refused.errOut, "an agent outside the cluster is running (laptop)", "nothing was removed", "Stop the agent laptop, then run: kubectl nodecleanup uninstall\n")
	}
	wantNoWrites(t, requestsOf(t, user, mark))

	kill() // It has renewed its Lease a moment ago.
	must(t, "uninstall", "--yes")
	wantNothingOfOurs(t, client, "outside")
}

// lead holds the Lease as an agent does, until kill is called.
func lead(t *testing.T, client kubernetes.Interface, namespace, holder string) (kill func()) {
	t.Helper()
	renewLease(t, client, namespace, holder, time.Now())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	group.Go(func() {
		every := time.NewTicker(time.Second)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-every.C:
				patch := fmt.Sprintf(`{"spec":{"renewTime":%q}}`, now.UTC().Format(metav1.RFC3339Micro))
				if _, err := client.CoordinationV1().Leases(namespace).Patch(ctx, api.Agent, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil && ctx.Err() == nil {
					t.Errorf("renewing the Lease: %v", err)
				}
			}
		}
	})
	kill = func() {
		cancel()
		group.Wait()
	}
	t.Cleanup(kill)
	return kill
}

// The cleanups that were running have no agent and no config any more.
func TestUninstallAfterTheManifestsWereDeleted(t *testing.T) {
	client := admin(t)
	leaving := makeNode(t, client, "leaving", finalizers(api.Finalizer))
	alive := makeNode(t, client, "alive", finalizers(api.Finalizer))
	deleteNode(t, client, "leaving")
	must(t, "install")
	actAsAgent(t, client, api.Namespace, leaving, alive)
	setCondition(t, client, "alive", api.CleanupCondition(api.Running, "running step storage", metav1.Now()))
	refused := want(t, exit.Failure, run(t, shared.Kubeconfig(), "uninstall", "--yes"))
	wantText(t, refused.errOut, "their remaining steps would not run: alive, leaving; nothing was removed")

	deleteManifests(t, client, must(t, "install", "--dry-run=client", "-o", "yaml").out)
	removed := must(t, "uninstall", "--yes")
	wantText(t, removed.errOut, "Being cleaned up, but no agent is installed to continue the cleanup:", "node/leaving: will be released immediately", "node/alive: the node stays, and its cleanup ends")
	wantNothingOfOurs(t, client, api.Namespace)
	wantDeleted(t, client, "leaving")
}

// deleteManifests deletes objects in their order and waits until they are deleted, as kubectl delete -f does.
func deleteManifests(t *testing.T, client kubernetes.Interface, manifests string) {
	t.Helper()
	objects := dynamic.NewForConfigOrDie(shared.RESTConfig())
	background := metav1.DeletePropagationBackground
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
		err := objects.Resource(resource).Namespace(object.GetNamespace()).Delete(t.Context(), object.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Namespaces().Get(ctx, api.Namespace, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return false, err
		}
		return err != nil, nil
	}); err != nil {
		t.Fatalf("waiting until the namespace is deleted: %v", err)
	}
}

// A cleanup on request ends with the agent too, although its node stays.
func TestUninstallRefusesWhileALiveNodeIsCleanedUp(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, "refusing-alive")
	node := makeNode(t, client, "alive", finalizers(api.Finalizer))
	must(t, "install", "-n", "refusing-alive", "--agent-url", "https://127.0.0.1:1")
	actAsAgent(t, client, "refusing-alive", node)
	setCondition(t, client, "alive", api.CleanupCondition(api.Running, "running step storage", metav1.Now()))
	refused := want(t, exit.Failure, run(t, shared.Kubeconfig(), "uninstall", "--yes"))
	wantText(t, refused.errOut, "node/alive: the node stays, and its cleanup ends; steps not done: storage", "would not run: alive; nothing was removed", "--force")
	webhook(t, client)

	setCondition(t, client, "alive", api.CleanupCondition(api.Succeeded, "every step is done", metav1.Now()))
	removed := must(t, "uninstall", "--yes")
	wantText(t, removed.errOut, "run records: 1", "run records deleted: 1")
	if strings.Contains(removed.errOut, "configmap/run-") {
		t.Errorf("it lists each run record: %s", removed.errOut)
	}
	if node := getNode(t, client, "alive"); node.DeletionTimestamp != nil || api.HasFinalizer(node) {
		t.Errorf("the node is %v, finalizers %v", node.DeletionTimestamp, node.Finalizers)
	}
}

// answer is a user who answers after a delay, so that changes can happen before the answer.
type answer struct {
	interfere func()
	io.Reader
}

func (a *answer) Read(data []byte) (int, error) {
	if a.interfere != nil {
		a.interfere()
		a.interfere = nil
	}
	return a.Reader.Read(data)
}

func TestUninstallReadsTheStateAgainAfterTheConfirmation(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, "refusing")
	makeNode(t, client, "leaving", finalizers(api.Finalizer))
	must(t, "install", "-n", "refusing", "--agent-url", "https://127.0.0.1:1")
	var out, errOut bytes.Buffer
	environment := command.NewEnvironment(genericiooptions.IOStreams{
		In: &answer{func() { deleteNode(t, client, "leaving") }, strings.NewReader("yes\n")}, Out: &out, ErrOut: &errOut,
	})
	environment.Interactive = true
	uninstall := cli.New(environment)
	uninstall.SetArgs([]string{"uninstall", "--kubeconfig", shared.Kubeconfig()})
	err := uninstall.ExecuteContext(t.Context())
	if exit.Code(t.Context(), err) != exit.Failure || !strings.Contains(err.Error(), "would not run: leaving; nothing was removed") {
		t.Errorf("it ended with %v\n%s%s", err, out.String(), errOut.String())
	}
	wantText(t, errOut.String(), "Remove all of this?")
	webhook(t, client)
	if !api.HasFinalizer(getNode(t, client, "leaving")) {
		t.Error("the node was released")
	}
}

func TestUninstallKeepsTheNamespaceByFlag(t *testing.T) {
	client := admin(t)
	must(t, "install", "-n", "kept", "--agent-url", "https://127.0.0.1:1")
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}
	if _, err := client.CoreV1().Secrets("kept").Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	result := must(t, "uninstall", "--yes", "--keep-namespace")

	if strings.Contains(result.errOut, "namespace/kept") || strings.Contains(result.errOut, "secret/theirs") {
		t.Errorf("it announces that the namespace is deleted: %s", result.errOut)
	}
	namespace, err := client.CoreV1().Namespaces().Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil || namespace.DeletionTimestamp != nil {
		t.Errorf("the namespace is deleted: %v, %v", namespace.DeletionTimestamp, err)
	}
	if _, err := client.CoreV1().Secrets("kept").Get(t.Context(), "theirs", metav1.GetOptions{}); err != nil {
		t.Errorf("what others keep in it went: %v", err)
	}
	if _, err := client.CoreV1().ConfigMaps("kept").Get(t.Context(), api.ConfigName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the config is left: %v", err)
	}
	must(t, "uninstall", "--yes", "-n", "kept") // Only the namespace is left to go.
}

func TestUninstallContinuesAfterAnInvalidNode(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, "invalid")
	makeNode(t, client, "valid", finalizers(api.Finalizer))
	makeNode(t, client, "twice-the-same-address", func(node *corev1.Node) {
		node.Finalizers = []string{api.Finalizer}
		address := corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}
		node.Status.Addresses = []corev1.NodeAddress{address, address}
	})
	must(t, "install", "-n", "invalid", "--agent-url", "https://127.0.0.1:1")
	result := want(t, exit.Failure, run(t, shared.Kubeconfig(), "uninstall", "--yes"))
	wantText(t, result.errOut, "twice-the-same-address", "status.addresses", "run uninstall again")
	if api.HasFinalizer(getNode(t, client, "valid")) {
		t.Error("the valid node was not released")
	}
	if !api.HasFinalizer(getNode(t, client, "twice-the-same-address")) {
		t.Error("the node is not invalid: the test proves nothing")
	}
	roles, err := client.RbacV1().ClusterRoles().List(t.Context(), metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.LabelNameValue})
	if err != nil || len(roles.Items) > 0 {
		t.Errorf("%d cluster roles left, %v: an invalid node kept the rest", len(roles.Items), err)
	}
	repair(t, client, "twice-the-same-address")
}

// repair makes a node valid again, so that the next test finds none.
func repair(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	node := getNode(t, client, name)
	node.Status.Addresses = nil
	if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestUninstallContinuesWhereItWasInterrupted(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, "interrupted")
	makeNode(t, client, "held", finalizers(api.Finalizer))
	must(t, "install", "-n", "interrupted", "--agent-url", "https://127.0.0.1:1")
	broken := proxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || !strings.Contains(r.URL.Path, "/nodes/") {
			return false
		}
		http.Error(w, "etcd is away", http.StatusInternalServerError)
		return true
	})
	want(t, exit.Failure, run(t, broken, "uninstall", "--yes"))
	if _, err := client.RbacV1().ClusterRoles().Get(t.Context(), api.Agent, metav1.GetOptions{}); err != nil {
		t.Errorf("the rights went before the finalizers: %v", err)
	}
	must(t, "uninstall", "--yes")
	wantNothingOfOurs(t, client, "interrupted")
}

func TestUninstallReportsARestoredFinalizer(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, "stubborn")
	makeNode(t, client, "held", finalizers(api.Finalizer))
	must(t, "install", "-n", "stubborn", "--agent-url", "https://127.0.0.1:1")
	stubborn := proxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && r.URL.Path == "/api/v1/nodes" {
			node := getNode(t, client, "held")
			if !api.HasFinalizer(node) {
				node.Finalizers = append(node.Finalizers, api.Finalizer)
				if err := second(client.CoreV1().Nodes().Update(context.WithoutCancel(r.Context()), node, metav1.UpdateOptions{})); err != nil {
					t.Error(err)
				}
			}
		}
		return false
	})
	result := want(t, exit.Failure, run(t, stubborn, "uninstall", "--yes"))
	wantText(t, result.errOut, "an agent is still running", "Stop that agent")
}

// Cluster-scoped objects belong to the install, whatever its namespace is.
func TestUninstallFromAnotherNamespaceIsRefused(t *testing.T) {
	client := admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	for _, arguments := range [][]string{{"--yes"}, {"--dry-run"}} {
		refused := want(t, exit.Failure, run(t, shared.Kubeconfig(), append([]string{"uninstall", "-n", "typo"}, arguments...)...))
		wantText(t, refused.errOut, "uninstalling from namespace typo: nodecleanup is already installed in namespace nodecleanup-system", "Leave --namespace out")
	}
	if _, err := client.RbacV1().ClusterRoles().Get(t.Context(), api.Agent, metav1.GetOptions{}); err != nil {
		t.Errorf("the agent's rights: %v", err)
	}
	webhook(t, client)
}

// Another policy, or a Node that fails validation, is no reason to leave the
// finalizer on all others.
func TestUninstallContinuesAfterARefusedNode(t *testing.T) {
	client := admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	for _, name := range []string{"a", "refused", "z"} {
		makeNode(t, client, name, finalizers(api.Finalizer))
	}
	allow := refuseUpdates(t, client, "refused")
	result := want(t, exit.Failure, run(t, shared.Kubeconfig(), "uninstall", "--yes"))
	wantText(t, result.errOut, "node refused: ", "nobody touches this node", "run uninstall again")
	for name, kept := range map[string]bool{"a": false, "refused": true, "z": false} {
		if api.HasFinalizer(getNode(t, client, name)) != kept {
			t.Errorf("node %s has the finalizer: %v", name, !kept)
		}
	}
	allow()
	must(t, "uninstall", "--yes")
	wantNothingOfOurs(t, client, api.Namespace)
}

// refuseUpdates has the API server refuse every update of a Node with 403.
func refuseUpdates(t *testing.T, client kubernetes.Interface, node string) (allow func()) {
	t.Helper()
	const name = "other-owner"
	policies, bindings := client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	if _, err := policies.Create(t.Context(), &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"nodes", "nodes/status"}},
			}}}},
			Validations: []admissionv1.Validation{{
				Expression: "object.metadata.name != '" + node + "'", Message: "nobody touches this node", Reason: ptr.To(metav1.StatusReasonForbidden),
			}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := bindings.Create(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	probe := func(want bool) {
		t.Helper()
		if err := wait.PollUntilContextTimeout(context.WithoutCancel(t.Context()), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			_, err := client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, []byte(`{"metadata":{"labels":{"probe":"1"}}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil && !apierrors.IsForbidden(err) {
				return false, err
			}
			return (err != nil) == want, nil
		}); err != nil {
			t.Fatalf("waiting until updates of node %s are refused (%v): %v", node, want, err)
		}
	}
	remove := func() {
		ctx := context.WithoutCancel(t.Context())
		for _, err := range []error{bindings.Delete(ctx, name, metav1.DeleteOptions{}), policies.Delete(ctx, name, metav1.DeleteOptions{})} {
			if err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
	}
	t.Cleanup(remove)
	probe(true)
	return func() {
		remove()
		probe(false)
	}
}
