package inspect

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// assessAdmission: with the policy inside the API server new nodes are protected
// whatever becomes of the webhook.
func assessAdmission(webhook *admissionv1.MutatingWebhookConfiguration, policy *admissionv1.MutatingAdmissionPolicy, now time.Time) printer.Admission {
	admission := assessWebhook(webhook, now)
	if admission.Health != printer.Missing {
		admission.Ways = []string{"webhook"}
	}
	if policy == nil {
		return admission
	}
	admission.Ways = append([]string{"policy"}, admission.Ways...)
	switch {
	case webhook == nil:
		admission.Health, admission.Problem = printer.Healthy, "" // By choice.
	case !works(admission.Health):
		admission.Health = printer.Degraded
	}
	return admission
}

// late is what follows if the webhook does not add the finalizer.
const late = "new nodes get the finalizer only later, from the leader"

func assessWebhook(webhook *admissionv1.MutatingWebhookConfiguration, now time.Time) printer.Admission {
	if webhook == nil {
		return printer.Admission{Health: printer.Missing, Problem: fmt.Sprintf("no mutatingwebhookconfiguration %s: %s", api.WebhookName, late)}
	}
	hook := cluster.MutatingHook(webhook)
	if hook == nil {
		return printer.Admission{Health: printer.Missing, Problem: fmt.Sprintf("mutatingwebhookconfiguration %s has no webhook %s", api.WebhookName, api.WebhookHook)}
	}
	admission := printer.Admission{Health: printer.Healthy}
	if hook.FailurePolicy != nil {
		admission.FailurePolicy = string(*hook.FailurePolicy)
	}
	var problem string
	if admission.CAExpiresAt, problem = assessCA(hook.ClientConfig.CABundle, late, now); problem != "" {
		admission.Health, admission.Problem = printer.Broken, problem
	}
	return admission
}

// unguarded is what follows if the API server cannot call the delete guard.
const unguarded = "deletions are not guarded"

// assessGuard describes whether the API server calls the guard before it deletes a node.
func assessGuard(s *Snapshot, now time.Time) printer.DeleteGuard {
	switch {
	case s.GuardHidden:
		return printer.DeleteGuard{Health: printer.Unknown, Problem: "you are not allowed to see validatingwebhookconfigurations"}
	case s.Guard == nil:
		return printer.DeleteGuard{Health: printer.Missing, Problem: fmt.Sprintf("no validatingwebhookconfiguration %s: %s", api.WebhookName, unguarded)}
	}
	hook := cluster.GuardHook(s.Guard)
	if hook == nil {
		return printer.DeleteGuard{Health: printer.Missing, Problem: fmt.Sprintf("validatingwebhookconfiguration %s has no webhook %s: %s", api.WebhookName, api.GuardHook, unguarded)}
	}
	guard := printer.DeleteGuard{Health: printer.Healthy}
	if hook.FailurePolicy != nil {
		guard.FailurePolicy = string(*hook.FailurePolicy)
	}
	var problem string
	if guard.CAExpiresAt, problem = assessCA(hook.ClientConfig.CABundle, unguarded, now); problem != "" {
		guard.Health, guard.Problem = printer.Broken, problem
	}
	return guard
}

// assessCA returns the end of the CA that a webhook trusts, and its fault.
func assessCA(bundle []byte, follows string, now time.Time) (*metav1.Time, string) {
	if len(bundle) == 0 {
		return nil, "the agent has not published its CA: " + follows
	}
	end, err := expiry(bundle)
	if err != nil {
		return nil, err.Error()
	}
	if !end.After(now) {
		return &metav1.Time{Time: end}, fmt.Sprintf("the CA expired %s ago", printer.Age(now.Sub(end)))
	}
	return &metav1.Time{Time: end}, ""
}

// expiry returns the end of the last certificate of a PEM bundle to end. During
// a rotation an old one may end while the next is in use.
func expiry(bundle []byte) (time.Time, error) {
	var last time.Time
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return last, fmt.Errorf("reading the webhook's CA: %w", err)
		}
		if certificate.NotAfter.After(last) {
			last = certificate.NotAfter
		}
	}
	if last.IsZero() {
		return last, fmt.Errorf("reading the webhook's CA: there is no certificate in it")
	}
	return last, nil
}
