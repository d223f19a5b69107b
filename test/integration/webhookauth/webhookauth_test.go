// Package webhookauth_test runs real API servers that call the agent's webhook while it requires
// client certificates: one API server with the files of "kubectl nodecleanup webhook-auth
// generate", and one without.
package webhookauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/callerauth"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const testTimeout = 30 * time.Second

func TestWebhookNeedsTheAPIServerCertificate(t *testing.T) {
	address := freeAddress(t)
	folder := t.TempDir()
	controlPlane := filepath.Join(folder, "control-plane")
	streams, _, _, said := genericiooptions.NewTestIOStreams()
	generate := func(flags ...string) {
		if err := cli.Execute(t.Context(), streams, append([]string{"webhook-auth", "generate", "--output-dir", folder}, flags...)); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
	}
	generate("--control-plane-dir", controlPlane, "--webhook-host", address)
	ca := filepath.Join(folder, "ca.crt")
	for name, test := range map[string]struct {
		flags []string
		// refusal is part of the response to the creation of a Node; empty if the Node gets the
		// finalizer.
		refusal string
	}{
		"with":    {[]string{"--admission-control-config-file=" + filepath.Join(controlPlane, "admission.yaml")}, ""},
		"without": {nil, "tls: certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			c := callers(t, address, test.flags)
			stop := run(t, c.server, address, callerauth.Options{CAFile: ca, Subjects: []string{api.WebhookClientSubject}})
			c.creates(test.refusal)
			c.deletes(test.refusal)
			if test.refusal != "" {
				return
			}
			c.recordsVerified()
			// The API server has no open connection any more, and presents the certificate that
			// the files now contain.
			const renewed = "renewed"
			stop()
			run(t, c.server, address, callerauth.Options{CAFile: ca, Subjects: []string{renewed}})
			c.creates("tls: bad certificate")
			generate("--renew", "--subject", renewed)
			c.creates("")
			c.deletes("")
		})
	}
}

// caller is an API server that must call the webhook.
type caller struct {
	*testing.T
	server *cluster.Cluster
	admin  kubernetes.Interface
}

// guarded is a Node that the guard keeps.
const guarded = "guarded"

// callers starts an API server that denies the creation and deletion of a Node if it cannot call
// the webhook.
func callers(t *testing.T, address string, flags []string) *caller {
	server := cluster.Start(t, cluster.Options{Name: "webhookauth", APIServerFlags: flags})
	admin := kubernetes.NewForConfigOrDie(server.RESTConfig())
	if _, err := (install.Applier{Objects: dynamic.NewForConfigOrDie(server.RESTConfig())}).Apply(t.Context(), install.Options{
		AgentURL: "https://" + address,
		// The policy would leave nothing to do for the webhook.
		Admission: install.AdmissionWebhook,
	}); err != nil {
		t.Fatal(err)
	}
	node := cluster.MakeNode(guarded, nil)
	node.Annotations[api.AnnotationProtect] = "true"
	if _, err := admin.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Otherwise a webhook that cannot be called looks like one that does nothing.
	fail := []byte(`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"}]`)
	if _, err := admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.JSONPatchType, fail, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.JSONPatchType, fail, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	return &caller{t, server, admin}
}

// deletes checks that the guard denies the deletion of a guarded Node. If the API server cannot
// call the guard, it checks that reason instead.
func (c *caller) deletes(refusal string) {
	c.Helper()
	says := []string{`admission webhook "` + api.GuardHook + `" denied the request`, api.AnnotationProtect}
	if refusal != "" {
		says = []string{`failed calling webhook "` + api.GuardHook + `"`, refusal}
	}
	var last string
	err := wait.PollUntilContextTimeout(c.Context(), 50*time.Millisecond, testTimeout, true, func(ctx context.Context) (bool, error) {
		err := c.admin.CoreV1().Nodes().Delete(ctx, guarded, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		last = fmt.Sprintf("%v", err)
		return !slices.ContainsFunc(says, func(text string) bool { return !strings.Contains(last, text) }), nil
	})
	if err != nil {
		c.Fatalf("waiting until a deletion is answered %q: %v; the last answer was %s", says, err, last)
	}
}

// recordsVerified checks that the ledger names the user of a deletion, and that the name is
// verified.
func (c *caller) recordsVerified() {
	c.Helper()
	node, err := c.admin.CoreV1().Nodes().Create(c.Context(), cluster.MakeNode("worker", nil), metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	if err := c.admin.CoreV1().Nodes().Delete(c.Context(), node.Name, metav1.DeleteOptions{}); err != nil {
		c.Fatal(err)
	}
	ledger, err := c.admin.CoreV1().ConfigMaps(api.Namespace).Get(c.Context(), api.GuardName, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	var deletion api.Deletion
	if err := json.Unmarshal([]byte(ledger.Data[string(node.UID)]), &deletion); err != nil || !deletion.Verified || deletion.User == "" {
		c.Errorf("the ledger says %v: %v", ledger.Data, err)
	}
}

// creates checks that the creation of a Node returns the denial, or that the Node gets the
// finalizer.
func (c *caller) creates(refusal string) {
	c.Helper()
	var last string
	err := wait.PollUntilContextTimeout(c.Context(), 50*time.Millisecond, testTimeout, true, func(ctx context.Context) (bool, error) {
		node, err := c.admin.CoreV1().Nodes().Create(ctx, cluster.MakeNode("probe", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch last = fmt.Sprintf("%v", err); {
		case err == nil && refusal != "" && api.HasFinalizer(node):
			return false, errors.New("the webhook answered a caller that shows no certificate")
		case err == nil:
			// Without the finalizer, the API server has not seen the webhook yet.
			return api.HasFinalizer(node), nil
		}
		// Until the agent listens and its CA is published, the refusal is another.
		return refusal != "" && strings.Contains(last, refusal), nil
	})
	if err != nil {
		c.Fatalf("waiting for the answer %q: %v; the last was %s", refusal, err, last)
	}
}

// run runs an agent until it is stopped, or the test ends.
func run(t *testing.T, server *cluster.Cluster, address string, callers callerauth.Options) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	options := agent.Options{
		// With the rights that the agent has in a cluster, and no others.
		REST: server.RESTConfigFor("system:serviceaccount:"+api.Namespace+":"+api.Agent,
			"system:serviceaccounts", "system:serviceaccounts:"+api.Namespace, "system:authenticated"),
		Namespace: api.Namespace, Identity: "test", Version: "test", Lease: leader.DefaultTiming(),
		WebhookListen: address, ShutdownDelay: time.Millisecond, Callers: callers, Catalog: plugins.Catalog, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	go func() { ended <- agent.Run(ctx, options) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended with: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
