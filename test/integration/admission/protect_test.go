package admission_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// would returns the Node that a create request with those labels would make.
func (f *fixture) would(labels map[string]string, finalizers ...string) *corev1.Node {
	f.Helper()
	node := cluster.MakeNode("new", labels)
	node.Finalizers = finalizers
	made, err := f.admin.CoreV1().Nodes().Create(f.Context(), node, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		f.Fatal(err)
	}
	return made
}

func (f *fixture) awaitPolicy() {
	f.Helper()
	f.eventually("the policy is at work", func(context.Context) (bool, error) { return api.HasFinalizer(f.would(nil)), nil })
}

func TestPolicyProtectsNewNodesWhileTheAgentIsDown(t *testing.T) {
	f := setUp(t)
	f.awaitPolicy()
	if got := f.would(nil, "example.com/other").Finalizers; !slices.Equal(got, []string{"example.com/other", api.Finalizer}) {
		t.Errorf("the finalizers are %q", got)
	}
	if got := f.would(nil, api.Finalizer).Finalizers; !slices.Equal(got, []string{api.Finalizer}) {
		t.Errorf("the finalizers of a node that had ours are %q", got)
	}
}

func TestPolicyCoversOnlySelectedNodes(t *testing.T) {
	f := setUp(t)
	f.awaitPolicy()
	if _, err := f.apply(install.Options{AgentURL: "https://127.0.0.1:1", Config: []byte(`apiVersion: nodecleanup.io/v1alpha1
kind: Config
nodeSelector: {matchExpressions: [{key: pool, operator: In, values: [workers]}]}
steps: [{name: log, plugin: logger}]
`)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Run(ctx, agent.Options{
			REST: shared.RESTConfigFor("system:serviceaccount:"+api.Namespace+":"+api.Agent, "system:serviceaccounts"), Namespace: api.Namespace, Identity: "test",
			Lease:   leader.Timing{Duration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 100 * time.Millisecond},
			Catalog: plugins.Catalog, Version: "test", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended with: %v", err)
		}
	}()
	f.eventually("a node that config does not select is left alone", func(context.Context) (bool, error) { return !api.HasFinalizer(f.would(nil)), nil })
	if !api.HasFinalizer(f.would(map[string]string{"pool": "workers"})) {
		t.Error("a node that config selects is not protected")
	}
	// A repeated install preserves the limit.
	results, err := f.apply(install.Options{AgentURL: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if result.Object.GetKind() == "MutatingAdmissionPolicy" && result.Action != install.Unchanged {
			t.Errorf("the policy is %s by a second install", result.Action)
		}
	}
}

func (f *fixture) apply(options install.Options) ([]install.Result, error) {
	return install.Applier{Objects: dynamic.NewForConfigOrDie(shared.RESTConfig())}.Apply(f.Context(), options)
}

func TestInstallHasTheRequestedAdmission(t *testing.T) {
	f := setUp(t)
	for _, test := range []struct {
		admission       install.Admission
		webhook, policy bool
	}{
		{install.AdmissionWebhook, true, false},
		{install.AdmissionPolicy, false, true},
		{install.AdmissionAuto, true, true},
	} {
		if _, err := f.apply(install.Options{AgentURL: "https://127.0.0.1:1", Admission: test.admission}); err != nil {
			t.Fatal(err)
		}
		_, webhook := f.admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), api.WebhookName, metav1.GetOptions{})
		_, policy := f.admin.AdmissionregistrationV1().MutatingAdmissionPolicies().Get(t.Context(), api.WebhookName, metav1.GetOptions{})
		if test.webhook != (webhook == nil) || test.policy != (policy == nil) {
			t.Errorf("--admission=%s: webhook %v, policy %v", test.admission, webhook, policy)
		}
		for _, err := range []error{webhook, policy} {
			if err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
	}
}
