package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func status(t *testing.T, code int) printer.Status {
	t.Helper()
	result := want(t, code, run(t, shared.Kubeconfig(), "status", "-o", "json"))
	var view printer.Status
	if err := json.Unmarshal([]byte(result.out), &view); err != nil {
		t.Fatal(err)
	}
	return view
}

func TestStatusFollowsTheInstall(t *testing.T) {
	client := admin(t)
	nothing := status(t, exit.Unhealthy)
	if nothing.Agent.Health != printer.Missing || nothing.Admission.Health != printer.Missing || nothing.Next == "" {
		t.Errorf("with nothing installed: %+v", nothing)
	}

	makeNamespace(t, client, "watched")
	makeNode(t, client, "quiet", finalizers(api.Finalizer))
	makeNode(t, client, "unprotected", nil)
	running := makeNode(t, client, "running", finalizers(api.Finalizer))
	must(t, "install", "-n", "watched", "--agent-url", "https://127.0.0.1:1")
	actAsAgent(t, client, "watched", running)
	stale := status(t, exit.Unhealthy)
	// The policy protects new nodes, whatever the webhook does.
	if stale.Agent.Health != printer.Broken || stale.Admission.Health != printer.Degraded || stale.Guard.Health != printer.Broken {
		t.Errorf("with a stale lease and no CA: %+v %+v %+v", stale.Agent, stale.Admission, stale.Guard)
	}

	renewLease(t, client, "watched", "laptop", time.Now())
	publishCA(t, client, "agent's CA")
	deleteNode(t, client, "running")
	setCondition(t, client, "running", api.CleanupCondition(api.Running, "running step storage", metav1.Now()))
	fine := status(t, exit.OK)
	if fine.APIVersion != printer.APIVersion || fine.Kind != "Status" || fine.Namespace != "watched" {
		t.Errorf("the view is a %s %s of namespace %s", fine.APIVersion, fine.Kind, fine.Namespace)
	}
	if fine.Agent.Version != "v1.2.3" || fine.Agent.Leader != "laptop" || !fine.Agent.Outside || fine.Admission.CAExpiresAt == nil {
		t.Errorf("agent %+v, admission %+v", fine.Agent, fine.Admission)
	}
	if fine.Nodes.Total != 3 || fine.Nodes.Protected != 2 || fine.Nodes.Unprotected != 1 || fine.Nodes.Cleaning["Running"] != 1 {
		t.Errorf("nodes %+v", fine.Nodes)
	}
	if len(fine.Cleanups) != 1 || fine.Cleanups[0].Step != "2/2 storage" || fine.Cleanups[0].Reason != "3 volumes left" {
		t.Errorf("cleanups %+v", fine.Cleanups)
	}

	setCondition(t, client, "running", api.CleanupCondition(api.Failed, "volume v1 is still attached", metav1.Now()))
	stuck := status(t, exit.Unhealthy)
	if len(stuck.Cleanups) != 1 || !stuck.Cleanups[0].Stuck || stuck.Cleanups[0].Reason != "volume v1 is still attached" {
		t.Errorf("cleanups %+v", stuck.Cleanups)
	}
	wantText(t, stuck.Next, "diagnose running")

	const user = "watcher"
	mark := auditMark(t)
	table := want(t, exit.Unhealthy, run(t, kubeconfigFor(t, user, "system:masters"), "status"))
	wantText(t, table.out, "running   Failed   2/2 storage")
	if table.errOut != "" {
		t.Errorf("status writes prose: %q", table.errOut)
	}
	wantNoWrites(t, requestsOf(t, user, mark))

	version := want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "version", "-o", "json"))
	wantText(t, version.out, `"kind": "Version"`, `"agent": "v1.2.3"`, `"fits": false`)
	version = want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "version"))
	wantText(t, version.out, "Compatible   NO: use a CLI of the agent's version")
}

// The agent still leads without its ClusterRoleBinding, and can do nothing.
func TestStatusNamesAMissingClusterRoleBinding(t *testing.T) {
	client := admin(t)
	installWithAgent(t, client, "v0.0.0-dev")
	makeNode(t, client, "worker", finalizers(api.Finalizer))
	deleteNode(t, client, "worker")
	status(t, exit.OK)
	if err := client.RbacV1().ClusterRoleBindings().Delete(t.Context(), api.Agent, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	const fault, fix = "the agent lacks rights: ClusterRoleBinding nodecleanup-agent does not exist", "kubectl nodecleanup install --agent-url https://127.0.0.1:1"
	view := status(t, exit.Unhealthy)
	if view.Agent.Health != printer.Broken || view.Agent.Problem != fault || !view.Agent.HasLeader || view.Next != fix {
		t.Errorf("agent %+v, next %q", view.Agent, view.Next)
	}
	diagnosis := want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "diagnose", "worker")).out
	wantText(t, diagnosis, "Cause:    "+fault+"\n", fix)
	report := want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "check")).out
	wantText(t, report, "✗ agent-rights: rights of the agent · "+fault+"\n", "✗ guard: delete guard · the agent lacks rights to read a node that is deleted, so it denies only the deletion of nodes with the annotation nodecleanup.io/protect", fix)
	if strings.Contains(report, "✓ guard") || strings.Contains(report, "✓ plugins") || strings.Contains(report, "✓ cleanups") {
		t.Error(report)
	}
	must(t, strings.Fields(fix)[2:]...)
	status(t, exit.OK)
}

// setCondition makes the condition the only one of a node. Controllers write the node at the same time, so
// it is a patch.
func setCondition(t *testing.T, client kubernetes.Interface, name string, condition corev1.NodeCondition) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{condition}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// While the API server fills a new watch, the previous nodes are still shown.
func TestStatusKeepsNodesWhenAWatchEnds(t *testing.T) {
	client := admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	for _, name := range []string{"a", "b"} {
		makeNode(t, client, name, finalizers(api.Finalizer))
		deleteNode(t, client, name)
	}
	var broken atomic.Bool
	cut, held := make(chan struct{}), make(chan struct{}, 1)
	kubeconfig := proxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/nodes" || !r.URL.Query().Has("watch") {
			return false
		}
		if !broken.Load() {
			ctx, cancel := context.WithCancel(r.Context())
			go func() {
				select {
				case <-cut:
					cancel()
				case <-ctx.Done():
				}
			}()
			*r = *r.WithContext(ctx)
			return false
		}
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		w.(http.Flusher).Flush()
		select {
		case held <- struct{}{}:
		default:
		}
		<-r.Context().Done() // The watch has begun, and sends no event.
		return true
	})
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: writer, ErrOut: io.Discard}
		ended <- cli.Execute(ctx, streams, []string{"status", "-w", "--kubeconfig", kubeconfig})
		writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	until := func(text string) {
		t.Helper()
		for lines.Scan() {
			t.Log(lines.Text())
			if strings.Contains(lines.Text(), "is not being cleaned up any more") {
				t.Errorf("nothing of that kind has happened: %s", lines.Text())
			}
			if strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Fatalf("it ended before %q", text)
	}
	until("node b Pending")
	broken.Store(true)
	close(cut)
	<-held
	if err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(t.Context(), api.WebhookName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until("admission ok")
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	until("admission degraded") // All earlier output has been read.
	cancel()
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	if err := <-ended; !exit.IsQuiet(err) {
		t.Errorf("the end of it is an error: %v", err)
	}
}
