package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// admission creates Nodes in a dry run, and checks that they get the finalizer. The policy runs
// before the webhook and makes the API server skip it. A Node that the policy does not select
// shows whether the API server reaches the webhook.
func admission(ctx context.Context, s *subject) result {
	chosen, selector := labels.Set{}, labels.Everything()
	settings, unknown := s.settings(ctx)
	if unknown == nil {
		found := false
		selector = settings.NodeSelector
		if chosen, found = api.LabelsFor(selector); !found {
			return skip(fmt.Errorf("cannot build a test node that matches the config's nodeSelector %q", selector))
		}
	}
	status, err := s.readStatus(ctx)
	if err != nil {
		return skip(err)
	}
	selected := s.dryCreate(ctx, chosen)
	switch {
	case selected.err != nil && api.FailureOf(selected.err).Name == api.WebhookHook:
		return failed(selected.err.Error(), s.webhookRemedy(status, selected.err.Error()))
	case selected.lacks("create nodes") != nil:
		return skip(selected.lacks("create nodes"))
	case selected.err != nil:
		return failed("the API server refuses a new node: "+selected.err.Error(), "kubectl get mutatingwebhookconfiguration "+api.WebhookName+" -o yaml")
	case !selected.finalizer && unknown != nil:
		// The agent may protect only Nodes that the nodeSelector of an earlier config selects.
		return skip(errors.New("not tested: without a readable and valid config, the nodeSelector is not known"))
	case !selected.finalizer:
		cause := s.cause(ctx, s.mutatingTrust())
		return failed("missing: neither the policy nor the webhook added it. "+cause+"The agent adds the finalizer later", s.webhookRemedy(status, cause))
	case selected.answered && slices.Contains(status.Admission.Ways, "policy"):
		return warn("the webhook adds it, but the policy does not: new nodes join without the finalizer while no agent runs",
			"apply the policy again: "+inspect.Reinstall(status.Agent))
	case selected.answered:
		return pass("the webhook adds it")
	case !slices.Contains(status.Admission.Ways, "policy"):
		return pass("added") // An agent of an earlier version does not confirm the call.
	case !slices.Contains(status.Admission.Ways, "webhook"):
		return pass("the policy adds it")
	}
	if cause := s.cause(ctx, s.mutatingTrust()); cause != "" {
		return failed("the policy adds it, but the API server cannot call the webhook. "+cause, s.webhookRemedy(status, cause))
	}
	if selector.Matches(labels.Set{}) {
		return pass("the policy adds it; the webhook cannot be tested, because the API server does not call it for a node that has the finalizer")
	}
	unselected := s.dryCreate(ctx, nil)
	switch {
	case unselected.err != nil:
		return skip(fmt.Errorf("the policy adds it; the webhook was not tested: %w", unselected.err))
	case unselected.answered:
		return pass("the policy adds it, and the webhook answers")
	case !version.Fits(version.Version, status.Agent.Version):
		return skip(errors.New("the policy adds it; the webhook was not tested: " + otherVersion(status)))
	}
	return failed("the policy adds it, but the API server got no answer from the webhook "+api.WebhookHook+hidden, s.webhookRemedy(status, ""))
}

// hidden is why a client does not see the error of a webhook with failurePolicy Ignore.
const hidden = " (failurePolicy Ignore hides the error; it is in the API server's log)"

func otherVersion(status *printer.Status) string {
	return fmt.Sprintf("the agent (%s) is of another version than this CLI (%s) and may not say that it answered", status.Agent.Version, version.Version)
}

// probeGuard deletes a Node in a dry run. A denial by the delete guard, or the warning with
// which it answers a dry run, proves that the API server reaches it.
func (s *subject) probeGuard(ctx context.Context, status *printer.Status) result {
	var node *corev1.Node
	var answer dryRun
	// The API server learns of a new webhook configuration by a watch, and a Node may begin to
	// terminate: then the webhook is not called. A webhook that times out takes longer than this
	// waits, so the wait does not limit the requests.
	err := wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, 3*time.Second, true, func(context.Context) (bool, error) {
		var err error
		if node, err = s.nodeToDelete(ctx); err != nil || node == nil {
			return true, err
		}
		answer = s.dryDelete(ctx, node)
		return answer.err != nil || answer.answered, nil
	})
	denied := api.FailureOf(answer.err)
	missing := answer.lacks("delete nodes")
	switch {
	case err != nil && !wait.Interrupted(err):
		return skip(err)
	case node == nil:
		return skip(errors.New("there is no node to test with a dry-run deletion"))
	case denied.Name == api.GuardHook && denied.Kind == api.WebhookDenied:
		return pass(fmt.Sprintf("it denied a dry-run deletion of node %s; failurePolicy %s", node.Name, status.Guard.FailurePolicy))
	case denied.Name == api.GuardHook:
		return failed(fmt.Sprintf("%v, so %s", answer.err, inspect.Unguarded(status.Guard.FailurePolicy)), s.webhookRemedy(status, answer.err.Error()))
	case answer.answered:
		return pass(fmt.Sprintf("it answered a dry-run deletion of node %s; failurePolicy %s", node.Name, status.Guard.FailurePolicy))
	case missing != nil:
		return skip(missing)
	case answer.err != nil:
		return skip(fmt.Errorf("the dry-run deletion of node %s failed: %w", node.Name, answer.err))
	}
	cause := s.cause(ctx, s.guardTrust())
	if cause == "" && !version.Fits(version.Version, status.Agent.Version) {
		return skip(errors.New("it was not tested: " + otherVersion(status)))
	}
	return failed(fmt.Sprintf("the API server got no answer from it to a dry-run deletion of node %s%s, so %s. %s", node.Name, hidden, inspect.Unguarded(status.Guard.FailurePolicy), cause), s.webhookRemedy(status, cause))
}

// maxNodes limits how many Nodes are read to find a protected one.
const maxNodes = 500

// nodeToDelete returns a Node that does not terminate, if possible one whose deletion the guard
// denies, or nil.
func (s *subject) nodeToDelete(ctx context.Context) (*corev1.Node, error) {
	list, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: maxNodes})
	if err != nil {
		return nil, fmt.Errorf("finding a node whose deletion can be tried in a dry run: %w", err)
	}
	var found *corev1.Node
	for i := range list.Items {
		node := &list.Items[i]
		if node.DeletionTimestamp != nil {
			continue
		}
		if protected, _ := api.Protected(node); protected { // A value that cannot be read protects, too.
			return node, nil
		}
		if found == nil {
			found = node
		}
	}
	return found, nil
}

// dryRun is the answer to a request that stored nothing.
type dryRun struct {
	// finalizer means that the Node has our finalizer, answered that our webhook confirmed the
	// call.
	finalizer, answered bool
	err                 error
}

// lacks returns an error that names the right that the caller lacks, or nil.
func (d dryRun) lacks(right string) error {
	if apierrors.IsForbidden(d.err) && api.FailureOf(d.err).Kind == "" {
		return fmt.Errorf("you lack: %s", right)
	}
	return nil
}

func (s *subject) dryCreate(ctx context.Context, chosen labels.Set) dryRun {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "nodecleanup-check-", Labels: chosen}}
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: api.FieldManager}
	request := s.client.CoreV1().RESTClient().Post().Resource("nodes").VersionedParams(&options, scheme.ParameterCodec).Body(node)
	return send(ctx, request, api.WebhookHook)
}

func (s *subject) dryDelete(ctx context.Context, node *corev1.Node) dryRun {
	options := &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}, Preconditions: metav1.NewUIDPreconditions(string(node.UID))}
	// The API server reads the body. The parameter shows in every audit log that this is a dry run.
	request := s.client.CoreV1().RESTClient().Delete().Resource("nodes").Name(node.Name).Param("dryRun", metav1.DryRunAll).Body(options)
	return send(ctx, request, api.GuardHook)
}

func send(ctx context.Context, request *rest.Request, hook string) dryRun {
	answer := request.WarningHandlerWithContext(rest.NoWarnings{}).Do(ctx)
	var node corev1.Node
	outcome := dryRun{err: answer.Into(&node)}
	outcome.finalizer = api.HasFinalizer(&node)
	for _, warning := range answer.Warnings() {
		outcome.answered = outcome.answered || warning.Text == api.DryRunWarning(hook)
	}
	return outcome
}
