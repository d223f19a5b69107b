package cli_test

import (
	"context"
	"slices"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const mustBeInRange = "runAsUser 65532 must be in the ranges: [1000720000, 1000729999]"

// refuseTheUser has the API server refuse Pods of our user in a namespace, as the security
// context constraints of OpenShift do.
func refuseTheUser(t *testing.T, client kubernetes.Interface, namespace string) {
	t.Helper()
	const name = "refuse-the-user"
	meta := metav1.ObjectMeta{Name: name}
	policies, bindings := client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	_, err := policies.Create(t.Context(), &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		FailurePolicy: ptr.To(admissionv1.Fail),
		MatchConstraints: &admissionv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}}},
		},
		Validations: []admissionv1.Validation{{Expression: "object.spec.?securityContext.?runAsUser.orValue(0) != 65532", Message: mustBeInRange}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = bindings.Create(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, err := range []error{bindings.Delete(ctx, name, metav1.DeleteOptions{}), policies.Delete(ctx, name, metav1.DeleteOptions{})} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	pod := cluster.MakePod(namespace, "refused", "")
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](65532)}
	soon(t, "the policy is in force", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsInvalid(err) || apierrors.IsForbidden(err), nil
	})
}

func soon(t *testing.T, what string, condition wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, condition); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

// The condition ReplicaFailure of the Deployment explains why it has no Pods.
func TestRejectedPods(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	if _, err := client.CoreV1().Nodes().Create(t.Context(), cluster.MakeNode("for-the-agent", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	refuseTheUser(t, client, reused)
	refused := want(t, exit.TimedOut, run(t, shared.Kubeconfig(), "install", "-n", reused, "--wait", "--timeout", "5s"))
	wantText(t, refused.errOut, "0 of 2 updated: FailedCreate: pods ", mustBeInRange, "Next:  The manifests are applied.", "docs/install.md#openshift")
	wantText(t, want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "status")).out, "FailedCreate: pods ", mustBeInRange, "Next: fix what the message names")
	wantText(t, want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "check")).out, "0 of 2 ready; FailedCreate: pods ", mustBeInRange)

	must(t, "install", "--set", "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null")
	available := func(ctx context.Context) (bool, error) {
		deployment, err := client.AppsV1().Deployments(reused).Get(ctx, api.Agent, metav1.GetOptions{})
		return err == nil && deployment.Status.ObservedGeneration == deployment.Generation && deployment.Status.AvailableReplicas == 2, err
	}
	soon(t, "the agent is available", available)

	// A rollout that is refused beside ready Pods of the version before.
	renewLease(t, client, reused, "nodecleanup-agent-1", time.Now())
	publishCA(t, client, "agent's CA")
	must(t, "install", "--set", "podSecurityContext.runAsUser=65532")
	soon(t, "the rollout is refused", func(ctx context.Context) (bool, error) {
		deployment, err := client.AppsV1().Deployments(reused).Get(ctx, api.Agent, metav1.GetOptions{})
		failed := func(c appsv1.DeploymentCondition) bool { return c.Type == appsv1.DeploymentReplicaFailure }
		return err == nil && slices.ContainsFunc(deployment.Status.Conditions, failed), err
	})
	stuck := run(t, shared.Kubeconfig(), "status")
	wantText(t, stuck.out, "2/2 ready", "FailedCreate: pods ", mustBeInRange)
	wantText(t, run(t, shared.Kubeconfig(), "check").out, "2 of 2 ready; FailedCreate: pods ")
}

// No kubelet runs in this cluster, so the test writes the status of a kubelet. The CLI names Pods
// that cannot start with the reason and the next step.
func TestPodStartFailures(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	must(t, "install", "-n", reused)
	pods := client.CoreV1().Pods(reused)
	kubeletSays := func(status string) {
		t.Helper()
		patch := `{"status":{"containerStatuses":[{"name":"agent","image":"x","imageID":"","ready":false,"restartCount":3,` + status + `}]}}`
		soon(t, "both pods have that status", func(ctx context.Context) (bool, error) {
			list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.LabelNameValue})
			if err != nil || len(list.Items) != 2 {
				return false, err
			}
			for _, pod := range list.Items {
				if _, err := pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
					return false, err
				}
			}
			return true, nil
		})
	}
	stalls := func(text, next string) {
		t.Helper()
		wantText(t, want(t, exit.TimedOut, run(t, shared.Kubeconfig(), "install", "-n", reused, "--wait", "--timeout", "3s")).errOut, text, next)
		wantText(t, want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "status")).out, text, next)
		wantText(t, want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "check")).out, text)
	}
	kubeletSays(`"state":{"waiting":{"reason":"ErrImagePull","message":"registry.example: no such host"}}`)
	stalls(": ErrImagePull: registry.example: no such host", "check the image, the registry and the pull secret")
	kubeletSays(`"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 5m0s"}},"lastState":{"terminated":{"exitCode":2,"reason":"Error","message":"starting\nreading the config: line 3"}}`)
	stalls(": CrashLoopBackOff: exit code 2: reading the config: line 3", "--previous")
}
