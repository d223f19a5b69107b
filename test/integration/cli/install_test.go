package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	release "github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// versions returns the resource version of every object of an install, by the
// name that the command printed.
func versions(t *testing.T, output string) map[string]string {
	t.Helper()
	var list struct {
		Items []metav1.PartialObjectMetadata
	}
	if err := json.Unmarshal([]byte(output), &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, item := range list.Items {
		version := item.ResourceVersion
		if strings.HasSuffix(item.Kind, "AdmissionPolicy") {
			version = fmt.Sprint(item.Generation) // A controller writes its status.
		}
		found[item.Kind+"/"+item.Name] = version
	}
	return found
}

// Most tests install into a namespace that is not ours: the namespace
// controller takes five seconds for each one.
const reused = "reused"

func TestInstallTwiceChangesNothing(t *testing.T) {
	client := admin(t)
	// Without a status that changes by itself, there are only the writes of the install.
	first := must(t, "install", "--agent-url", "https://127.0.0.1:1")
	if strings.Contains(first.out, "unchanged") {
		t.Errorf("the first install found something:\n%s", first.out)
	}
	before := versions(t, must(t, "install", "--agent-url", "https://127.0.0.1:1", "-o", "json").out)
	second := must(t, "install", "--agent-url", "https://127.0.0.1:1")
	if strings.Contains(second.out, "created") || strings.Contains(second.out, "configured") {
		t.Errorf("the second install changed something:\n%s", second.out)
	}
	after := versions(t, must(t, "install", "--agent-url", "https://127.0.0.1:1", "-o", "json").out)
	if len(before) < 11 {
		t.Errorf("an install with an agent outside has %d objects, want at least 11: %v", len(before), before)
	}
	for name, version := range before {
		if after[name] != version {
			t.Errorf("%s went from resource version %s to %s", name, version, after[name])
		}
	}
	_, err := client.AppsV1().Deployments(api.Namespace).Get(t.Context(), api.Agent, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("there is a deployment beside an agent that runs outside: %v", err)
	}
}

func TestInstallKeepsForeignFields(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	must(t, "install", "-n", reused, "--replicas", "1")
	publishCA(t, client, "agent's CA")
	const edited = "# edited\n"
	config, err := client.CoreV1().ConfigMaps(reused).Get(t.Context(), api.ConfigName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config.Data[api.ConfigKey] = edited
	if _, err := client.CoreV1().ConfigMaps(reused).Update(t.Context(), config, metav1.UpdateOptions{FieldManager: "kubectl-edit"}); err != nil {
		t.Fatal(err)
	}
	scale := []byte(`{"spec":{"replicas":3}}`)
	if _, err := client.AppsV1().Deployments(reused).Patch(t.Context(), api.Agent, types.MergePatchType, scale, metav1.PatchOptions{FieldManager: "kubectl-scale"}); err != nil {
		t.Fatal(err)
	}

	warned := must(t, "upgrade", "--image", "registry.example/agent:v9")
	wantText(t, warned.errOut, "WARNING: the config on the cluster stays, and an agent of this version refuses it:", "nodecleanup config edit", "--config FILE")

	if got := webhookCA(t, client); got != "agent's CA" {
		t.Errorf("the CA in the webhook became %q", got)
	}
	deployment := agentDeployment(t, client, reused)
	if *deployment.Spec.Replicas != 3 || deployment.Spec.Template.Spec.Containers[0].Image != "registry.example/agent:v9" {
		t.Errorf("the deployment has %d replicas of %s", *deployment.Spec.Replicas, deployment.Spec.Template.Spec.Containers[0].Image)
	}
	if got := configOnCluster(t, client, reused); got != edited {
		t.Errorf("the edited config became %q", got)
	}

	file := filepath.Join(t.TempDir(), "config.yaml")
	wanted := "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps:\n- {name: drain, plugin: drain}\n"
	if err := os.WriteFile(file, []byte(wanted), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "install", "--config", file, "--image", "registry.example/agent:v9")
	if got := configOnCluster(t, client, reused); got != wanted {
		t.Errorf("--config left %q", got)
	}
}

func TestInstallFailsOnFieldConflicts(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	must(t, "install", "-n", reused)
	image := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"agent","image":"registry.example/patched:v1"}]}}}}`)
	if _, err := client.AppsV1().Deployments(reused).Patch(t.Context(), api.Agent, types.StrategicMergePatchType, image, metav1.PatchOptions{FieldManager: "kubectl-set"}); err != nil {
		t.Fatal(err)
	}
	refused := want(t, exit.Failure, run(t, shared.Kubeconfig(), "install"))
	wantText(t, refused.errOut, "deployment.apps/nodecleanup-agent", "kubectl-set", "image", "--force-conflicts")
	must(t, "install", "--force-conflicts")
	if got := agentDeployment(t, client, reused).Spec.Template.Spec.Containers[0].Image; !strings.HasPrefix(got, "ghcr.io/nodecleanup/") {
		t.Errorf("--force-conflicts left the image %s", got)
	}
}

// A server-side apply merges ports by number, so it alone would keep a port with another number and the same name.
func TestInstallReplacesChangedPorts(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	must(t, "install", "-n", reused)
	services := client.CoreV1().Services(reused)
	want443, err := services.Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	edited := want443.DeepCopy()
	for i := range edited.Spec.Ports {
		if edited.Spec.Ports[i].Port == 443 {
			edited.Spec.Ports[i].Port = 8444
		}
	}
	if _, err := services.Update(t.Context(), edited, metav1.UpdateOptions{FieldManager: "kubectl-edit"}); err != nil {
		t.Fatal(err)
	}
	refused := want(t, exit.Failure, run(t, shared.Kubeconfig(), "install"))
	wantText(t, refused.errOut, "service/nodecleanup-agent", "spec.ports", "--force-conflicts")
	must(t, "install", "--force-conflicts", "--dry-run=server")
	must(t, "install", "--force-conflicts")
	got, err := services.Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Spec.Ports, want443.Spec.Ports) {
		t.Errorf("ports %+v, want %+v", got.Spec.Ports, want443.Spec.Ports)
	}
	for _, entry := range got.ManagedFields {
		if (entry.Manager != api.FieldManager || entry.Operation != metav1.ManagedFieldsOperationApply) && api.WroteSpec(entry, "ports") {
			t.Errorf("%s (%s) still owns ports: %s", entry.Manager, entry.Operation, entry.FieldsV1.Raw)
		}
	}
	must(t, "install")
}

func TestInstallMovesTheAgentOutOfTheClusterAndBack(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	must(t, "install", "-n", reused)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	_, err := client.AppsV1().Deployments(reused).Get(t.Context(), api.Agent, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the deployment is still there: %v", err)
	}
	hook := webhook(t, client)
	if hook.ClientConfig.Service != nil || hook.ClientConfig.URL == nil || *hook.ClientConfig.URL != "https://127.0.0.1:1/mutate-node" {
		t.Errorf("the webhook calls %+v", hook.ClientConfig)
	}
	must(t, "install")
	if hook := webhook(t, client); hook.ClientConfig.URL != nil || hook.ClientConfig.Service == nil {
		t.Errorf("the webhook calls %+v", hook.ClientConfig)
	}
}

func TestInstallServerDryRunWritesNothing(t *testing.T) {
	client := admin(t)
	const user = "rehearsing"
	mark := auditMark(t)
	// Once without an install, and once with an install to change.
	result := want(t, exit.OK, run(t, kubeconfigFor(t, user, "system:masters"), "install", "--dry-run=server"))
	wantText(t, result.out, "namespace/nodecleanup-system created (server dry run)", "deployment.apps/nodecleanup-agent not checked")
	must(t, "install")
	result = want(t, exit.OK, run(t, kubeconfigFor(t, user, "system:masters"), "install", "--dry-run=server", "--image", "registry.example/agent:v9"))
	wantText(t, result.out, "deployment.apps/nodecleanup-agent configured (server dry run)", "service/nodecleanup-agent unchanged")
	wantNoWrites(t, requestsOf(t, user, mark))
	if got := agentDeployment(t, client, api.Namespace).Spec.Template.Spec.Containers[0].Image; strings.Contains(got, "example") {
		t.Errorf("the dry run set the image %s", got)
	}
}

func TestInstallIntoAnExistingNamespaceWarns(t *testing.T) {
	client := admin(t)
	before := makeNamespace(t, client, "shop")
	first := must(t, "install", "-n", "shop")
	wantText(t, first.out, "users who may create Pods in it can act as the agent")
	after, err := client.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if after.ResourceVersion != before.ResourceVersion {
		t.Errorf("install changed the namespace: %v", after.Labels)
	}
	if got := *webhook(t, client).ClientConfig.Service; got.Namespace != "shop" {
		t.Errorf("the webhook calls the service in %s", got.Namespace)
	}
	second := want(t, exit.Failure, run(t, shared.Kubeconfig(), "install", "-n", "elsewhere"))
	wantText(t, second.errOut, "installing into namespace elsewhere: nodecleanup is already installed in namespace shop")
	// Not given, the namespace is found.
	found := must(t, "install")
	wantText(t, found.out, "deployment.apps/nodecleanup-agent unchanged")
	must(t, "uninstall", "--yes")
	after, err = client.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil || after.DeletionTimestamp != nil {
		t.Errorf("uninstall deleted a namespace that install did not make: %v", err)
	}
	wantNothingOfOurs(t, client, "shop")
}

func TestInstallWaitsForTheAgent(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	late := run(t, shared.Kubeconfig(), "install", "-n", reused, "--wait", "--timeout", "3s")
	want(t, exit.TimedOut, late)
	wantText(t, late.errOut, "waiting for deployment.apps/nodecleanup-agent", "0 of 2 available", "no nodes available")

	node := cluster.MakeNode("for-the-agent", nil) // kwok plays its kubelet
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The pods run nothing, so the CA that the agent would publish is published here.
	// So is the status that the leader would write.
	publishCA(t, client, "agent's CA")
	pods, err := client.CoreV1().Pods(reused).List(t.Context(), metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.LabelNameValue})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("the agent's pods: %d, %v", len(pods.Items), err)
	}
	writeLeader(t, client, pods.Items[0].Name)
	result := must(t, "install", "--wait", "--timeout", "60s")
	wantText(t, result.errOut, "The agent is available", "error leader: no leader", "11 checks: ", "kubectl nodecleanup check")
	if got := agentDeployment(t, client, reused).Status.AvailableReplicas; got != 2 {
		t.Errorf("install waited for %d replicas", got)
	}

	// The replica that led last is of a version that no longer runs.
	writeLeader(t, client, "nodecleanup-agent-before")
	late = run(t, shared.Kubeconfig(), "install", "--wait", "--timeout", "5s")
	want(t, exit.TimedOut, late)
	wantText(t, late.errOut, "waiting for configmap/"+api.StatusName, "nodecleanup-agent-before", "no new leader is elected yet")

	// It was scaled to 0: that stays, and a wait would never end.
	scale := []byte(`{"spec":{"replicas":0}}`)
	if _, err := client.AppsV1().Deployments(reused).Patch(t.Context(), api.Agent, types.MergePatchType, scale, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	stopped := want(t, exit.Failure, run(t, shared.Kubeconfig(), "install", "--wait", "--timeout", "60s"))
	wantText(t, stopped.errOut, "the agent is scaled to 0 replicas", "scale deployment nodecleanup-agent --replicas=2")
	must(t, "uninstall", "--yes")
}

func writeLeader(t *testing.T, client kubernetes.Interface, pod string) {
	t.Helper()
	status, err := api.EncodeStatus(reused, &api.AgentStatus{Leader: pod})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().ConfigMaps(reused).Update(t.Context(), status, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = client.CoreV1().ConfigMaps(reused).Create(t.Context(), status, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func agentDeployment(t *testing.T, client kubernetes.Interface, namespace string) *appsv1.Deployment {
	t.Helper()
	deployment, err := client.AppsV1().Deployments(namespace).Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return deployment
}

func configOnCluster(t *testing.T, client kubernetes.Interface, namespace string) string {
	t.Helper()
	config, err := client.CoreV1().ConfigMaps(namespace).Get(t.Context(), api.ConfigName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return config.Data[api.ConfigKey]
}

func makeNamespace(t *testing.T, client kubernetes.Interface, name string) *corev1.Namespace {
	t.Helper()
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		namespace, err = client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return namespace
}

func TestInstallShowsItsChanges(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	must(t, "install", "-n", reused)
	const user = "comparing"
	mark := auditMark(t)
	nothing := want(t, exit.OK, run(t, kubeconfigFor(t, user, "system:masters"), "upgrade", "--diff"))
	if nothing.out != "" {
		t.Errorf("there is a difference:\n%s", nothing.out)
	}
	some := want(t, exit.OK, run(t, kubeconfigFor(t, user, "system:masters"), "upgrade", "--diff", "--image", "registry.example/agent:v9", "--set", "failurePolicy=Fail"))
	wantText(t, some.out, "+        image: registry.example/agent:v9", "-  failurePolicy: Ignore", "+  failurePolicy: Fail", "to be applied: deployment.apps/nodecleanup-agent")
	wantText(t, some.errOut, "3 of ", "nothing was stored")
	wantNoWrites(t, requestsOf(t, user, mark))
}

func TestInstallPrunesOnlyItsObjects(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	folder := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("kustomization.yaml", "resources: [nodecleanup-base, extra.yaml]\n")
	ours := func(name, labels string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: " + reused + ", labels: {" + labels + "}}\n"
	}
	write("extra.yaml", ours("extra", "app.kubernetes.io/name: nodecleanup")+"---\n"+ours("unlabelled", "team: ops"))
	must(t, "install", "-n", reused, "-k", folder)
	// Of the same label, but made by another tool.
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "theirs", Labels: map[string]string{api.LabelName: api.LabelNameValue}}}
	if _, err := client.CoreV1().ConfigMaps(reused).Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	refused := want(t, exit.Failure, run(t, shared.Kubeconfig(), "install"))
	wantText(t, refused.errOut, "the previous install used one", "-k", "--reset-values")
	dry := must(t, "install", "--dry-run=server", "--reset-values")
	wantText(t, dry.out, "configmap/extra deleted (server dry run)")
	pruned := must(t, "install", "--reset-values")
	wantText(t, pruned.out, "configmap/extra deleted")
	for name, there := range map[string]bool{"extra": false, "theirs": true, "unlabelled": false} {
		_, err := client.CoreV1().ConfigMaps(reused).Get(t.Context(), name, metav1.GetOptions{})
		if there != (err == nil) {
			t.Errorf("configmap %s: %v", name, err)
		}
	}
	if again := must(t, "install"); strings.Contains(again.out, "deleted") {
		t.Errorf("it deletes again:\n%s", again.out)
	}
}

// A config in the kustomization is applied each time. Without one, the config on the cluster
// stays.
func TestConfigOfAKustomizationIsApplied(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	must(t, "install", "-n", reused)
	folder := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	steps := func(plugin string) {
		write("config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nodecleanup-config, namespace: "+reused+"}\ndata:\n  config.yaml: |\n"+
			"    apiVersion: nodecleanup.io/v1alpha1\n    kind: Config\n    steps: [{name: log, plugin: "+plugin+"}]\n")
	}
	write("kustomization.yaml", "resources: [nodecleanup-base]\npatches: [{path: config.yaml}]\n")
	before := configOnCluster(t, client, reused)
	steps("loger")
	for _, arguments := range [][]string{{"install", "-k", folder}, {"install", "-k", folder, "-n", reused, "--dry-run"}} {
		refused := want(t, exit.Failure, run(t, shared.Kubeconfig(), arguments...))
		wantText(t, refused.errOut, "that the kustomization in "+folder+" brings", `unknown plugin "loger"`, "nothing was sent")
	}
	if got := configOnCluster(t, client, reused); got != before {
		t.Errorf("the config became %q", got)
	}
	steps("logger")
	wantText(t, must(t, "install", "-k", folder).out, "configmap/nodecleanup-config configured")
	wantText(t, configOnCluster(t, client, reused), "plugin: logger")
	if again := must(t, "install", "-k", folder); strings.Contains(again.out, "configured") {
		t.Errorf("it changed something:\n%s", again.out)
	}
	write("kustomization.yaml", "resources: [nodecleanup-base]\n")
	wantText(t, must(t, "install", "-k", folder).out, "configmap/nodecleanup-config kept")
	wantText(t, configOnCluster(t, client, reused), "plugin: logger")
}

// A user with rights in only one namespace can create a ServiceAccount of any name and label. If
// the CLI took it for the agent's, it would get the agent's rights.
func TestServiceAccountDoesNotChooseTheInstallNamespace(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, "tenant")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: api.Agent, Labels: map[string]string{api.LabelName: api.LabelNameValue}}}
	if _, err := client.CoreV1().ServiceAccounts("tenant").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	must(t, "install")
	binding, err := client.RbacV1().ClusterRoleBindings().Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(binding.Subjects) != 1 || binding.Subjects[0].Namespace != api.Namespace {
		t.Errorf("the agent's rights went to %v", binding.Subjects)
	}
	wantText(t, run(t, shared.Kubeconfig(), "status").out, api.Namespace)
}

// An operator installs again without repeating the flags.
func TestRepeatedInstallKeepsTheOptions(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	image := "registry.local/agent:" + release.Version
	must(t, "install", "-n", reused, "--image", image, "--set", "guard.failurePolicy=Fail")
	again := must(t, "install")
	wantText(t, again.errOut, "Reusing values from the previous install: --image "+image+", --set guard.failurePolicy=Fail", "--reset-values")
	if strings.Contains(again.out, "configured") {
		t.Errorf("it changed something:\n%s", again.out)
	}
	must(t, "install", "--reset-values")
	if got := agentDeployment(t, client, reused).Spec.Template.Spec.Containers[0].Image; got == image {
		t.Errorf("the image is still %s", got)
	}
	newer := `{"data":{"options.json":"{\"version\":\"v999.0.0\"}"}}`
	if _, err := client.CoreV1().ConfigMaps(reused).Patch(t.Context(), "nodecleanup-inventory", types.MergePatchType, []byte(newer), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	refused := want(t, exit.Failure, run(t, shared.Kubeconfig(), "install"))
	wantText(t, refused.errOut, "over v999.0.0, which is newer", "--allow-downgrade")
	must(t, "install", "--allow-downgrade")
}

func TestHelmReleaseIsNotChanged(t *testing.T) {
	client := admin(t)
	must(t, "install")
	helms := `{"metadata":{"labels":{"app.kubernetes.io/managed-by":"Helm"},"annotations":{"meta.helm.sh/release-name":"cleanup","meta.helm.sh/release-namespace":"ops"}}}`
	if _, err := client.RbacV1().ClusterRoleBindings().Patch(t.Context(), api.Agent, types.MergePatchType, []byte(helms), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	refused := want(t, exit.Failure, run(t, shared.Kubeconfig(), "install", "--image", "registry.local/agent:v9"))
	wantText(t, refused.errOut, "release cleanup in namespace ops", "helm upgrade", "--force-conflicts")
	must(t, "install", "--force-conflicts")
}
