package job

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
)

// tryOut creates the Job as a dry run: the API server validates it, runs admission, and counts it against
// quotas. A dry run creates no Pod. Pod Security, which may reject the Pod later, only warns; tryOut returns
// the warnings.
func (p *plugin) tryOut(ctx context.Context, target cleanup.Target, number int) (warned string, err error) {
	template, err := p.template(ctx)
	if err != nil {
		return "", err
	}
	job, err := p.build(template, target, number, minDeadline, func(template cleanup.Template) (string, error) {
		return template.Preview(target), nil
	})
	if err != nil {
		return "", err
	}
	var warnings warnings
	err = p.client.BatchV1().RESTClient().Post().Namespace(p.Namespace).Resource("jobs").
		VersionedParams(&metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}, scheme.ParameterCodec).
		Body(job).WarningHandlerWithContext(&warnings).Do(ctx).Error()
	return truncate.Bytes(oneLine(strings.Join(warnings, "; ")), maxMessage), err
}

// warnings collects the warnings of a response. Without it, the agent would log them at each health check.
type warnings []string

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	*w = append(*w, text)
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	effect := cleanup.Effect{Action: "Run", Object: cleanup.Object{Kind: "Job", Namespace: p.Namespace}}
	number := 1
	jobs, err := p.list(ctx, target.IdempotencyKey)
	if err == nil {
		chosen := choose(jobs.Items, target)
		if chosen.adopt != nil && unfinished(chosen.adopt) {
			effect.Action, effect.Object.Name, effect.Reason = cleanup.Wait, chosen.adopt.Name, "it is already running"
			return []cleanup.Effect{effect}, nil
		}
		number = chosen.number
	} else if !apierrors.IsForbidden(err) {
		return nil, err
	}
	warned, err := p.tryOut(ctx, target, number)
	effect.Object.Name = nameOf(target.Step, target.IdempotencyKey, number)
	effect.Reason = fmt.Sprintf("with service account %s, not on this node", p.ServiceAccountName)
	if p.OnNode {
		effect.Reason = fmt.Sprintf("with service account %s, on this node", p.ServiceAccountName)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err == nil && warned != "":
		effect.Unchecked = "the API server warns: " + warned
	case err == nil:
	case apierrors.IsForbidden(err) && p.mayNot(ctx, "create"):
		effect.Unchecked = "no right to create jobs in namespace " + p.Namespace
	case apierrors.IsForbidden(err):
		effect.Blocked = &cleanup.Blocker{Cause: cleanup.BlockedByAdmission, Message: oneLine(err.Error())}
	default:
		effect.Blocked = &cleanup.Blocker{Cause: cleanup.BlockedByServer, Message: oneLine(err.Error())}
	}
	return []cleanup.Effect{effect}, nil
}

// mayNot reports whether RBAC denies the caller a verb on Jobs, rather than admission, which answers with
// the same reason.
func (p *plugin) mayNot(ctx context.Context, verb string) bool {
	allowed, err := access.Self(p.client)(ctx, access.Right{Namespace: p.Namespace, Verb: verb, Group: "batch", Resource: "jobs"})
	return err == nil && !allowed
}

// CheckHealth implements cleanup.HealthChecker: the ServiceAccount and the template exist, and the API
// server would create the Job.
func (p *plugin) CheckHealth(ctx context.Context) error {
	if _, err := p.client.CoreV1().ServiceAccounts(p.Namespace).Get(ctx, p.ServiceAccountName, metav1.GetOptions{}); err != nil {
		return fmt.Errorf("reading service account %s/%s: %w", p.Namespace, p.ServiceAccountName, err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "health-check", UID: "health-check"}}
	target := cleanup.Target{Node: node, Step: "health-check", Attempt: 1, Began: p.clock.Now(), IdempotencyKey: "health-check/health-check"}
	if _, err := p.tryOut(ctx, target, 1); err != nil {
		return fmt.Errorf("creating a job in namespace %s as a dry run: %w", p.Namespace, err)
	}
	return nil
}
