package cli_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestBypassMarksTheNodeOnTheRecord(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, "bypassing")
	node := makeNode(t, client, "stuck", finalizers(api.Finalizer))
	must(t, "install", "-n", "bypassing", "--agent-url", "https://127.0.0.1:1")
	actAsAgent(t, client, "bypassing", node)

	waits := must(t, "bypass", "stuck", "--reason", "rebuild", "--yes")
	wantText(t, waits.errOut, "is not being deleted", "no agent in namespace bypassing is the leader", "To remove the bypass: kubectl annotate node stuck nodecleanup.io/bypass-")
	wantText(t, waits.out, "node/stuck marked\n")

	must(t, "bypass", "node/stuck", "--reason", "hardware lost", "--for", "1h", "--yes")
	for after, active := range map[time.Duration]bool{59 * time.Minute: true, 61 * time.Minute: false} {
		bypass, err := api.BypassOf(getNode(t, client, "stuck"), time.Now().Add(after))
		if err != nil || bypass.Active != active || bypass.Reason != "hardware lost" || bypass.By != "admin" {
			t.Errorf("in %s the bypass is %+v, error %v", after, bypass, err)
		}
	}
	// An end that an earlier bypass had does not end this one.
	must(t, "bypass", "stuck", "--reason", "for a day", "--yes")
	for after, active := range map[time.Duration]bool{23 * time.Hour: true, 25 * time.Hour: false} {
		if bypass, err := api.BypassOf(getNode(t, client, "stuck"), time.Now().Add(after)); err != nil || bypass.Active != active {
			t.Errorf("without --for, in %s the bypass is %+v, error %v", after, bypass, err)
		}
	}

	deleteNode(t, client, "stuck")
	withoutYes := want(t, exit.Usage, run(t, shared.Kubeconfig(), "bypass", "stuck", "--reason", "hardware lost"))
	wantText(t, withoutYes.errOut, "steps not done: storage", "--yes")
	if got := getNode(t, client, "stuck").Annotations[api.AnnotationBypassReason]; got != "for a day" {
		t.Errorf("a command that could not ask set the reason %q", got)
	}
}

func TestBypassIgnoresARecreatedNode(t *testing.T) {
	client := admin(t)
	first := makeNode(t, client, "reused", nil)
	var once sync.Once
	overtaken := proxy(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			once.Do(func() { replaceNode(t, client, "reused") })
		}
		return false
	})
	result := want(t, exit.Failure, run(t, overtaken, "bypass", "reused", "--reason", "hardware lost", "--yes"))
	wantText(t, result.errOut, string(first.UID), "recreated")
	node := getNode(t, client, "reused")
	if node.UID == first.UID {
		t.Fatal("the node was not recreated: the test proves nothing")
	}
	if node.Annotations[api.AnnotationBypass] != "" {
		t.Errorf("the new node was marked: %v", node.Annotations)
	}
}

func replaceNode(t *testing.T, client kubernetes.Interface, name string) {
	// An install of another test may have protected it.
	if _, err := client.CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
	if err := client.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

func TestBypassOfAnUnknownNode(t *testing.T) {
	result := want(t, exit.Failure, run(t, shared.Kubeconfig(), "bypass", "nobody", "--reason", "hardware lost", "--yes"))
	wantText(t, result.errOut, "reading node nobody", "kubectl nodecleanup status")
}
