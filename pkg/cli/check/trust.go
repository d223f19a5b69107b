package check

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// trust is what decides whether the API server trusts the agent.
type trust struct {
	bundle []byte
	// injected: cert-manager publishes the CA, not the agent.
	injected bool
}

func (s *subject) guardTrust() *trust {
	hook := cluster.GuardHook(s.snapshot.Guard)
	if hook == nil {
		return nil
	}
	return &trust{hook.ClientConfig.CABundle, injected(&s.snapshot.Guard.ObjectMeta)}
}

func (s *subject) mutatingTrust() *trust {
	hook := cluster.MutatingHook(s.snapshot.Webhook)
	if hook == nil {
		return nil
	}
	return &trust{hook.ClientConfig.CABundle, injected(&s.snapshot.Webhook.ObjectMeta)}
}

func injected(meta *metav1.ObjectMeta) bool {
	for key := range meta.Annotations {
		if strings.HasPrefix(key, "cert-manager.io/") {
			return true
		}
	}
	return false
}

// cause explains why the API server cannot trust the agent: the CA bundle of the webhook does not
// verify the agent's CA. It is empty if the Secret is missing or unreadable, or if another issuer
// signed the agent's certificate.
func (s *subject) cause(ctx context.Context, trust *trust) string {
	if trust == nil || trust.injected || s.certificateFromFile() {
		return ""
	}
	secret, err := s.client.CoreV1().Secrets(s.namespace).Get(ctx, api.CASecretName, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	if block == nil {
		return ""
	}
	authority, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ""
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trust.bundle)
	_, err = authority.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: s.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err == nil {
		return ""
	}
	return fmt.Sprintf("The CA bundle of the webhook does not match the CA in Secret %s/%s: %v. ", s.namespace, api.CASecretName, err)
}

func (s *subject) certificateFromFile() bool {
	return s.snapshot.Deployment != nil && slices.ContainsFunc(s.snapshot.Deployment.Spec.Template.Spec.Containers, func(container corev1.Container) bool {
		return slices.ContainsFunc(container.Args, func(argument string) bool { return strings.HasPrefix(argument, "--webhook-cert-file") })
	})
}

// webhookRemedy returns how to find out why the API server does not reach the webhooks, and
// how to repair it. The fault is what is known of the cause, and may be empty.
func (s *subject) webhookRemedy(status *printer.Status, fault string) string {
	switch {
	case status.Agent.Stopped:
		return inspect.ScaleUp(s.namespace)
	case status.Agent.Remedy != "":
		return status.Agent.Remedy
	case status.Guard.Remedy != "":
		return status.Guard.Remedy
	case status.Admission.Remedy != "":
		return status.Admission.Remedy
	case status.Agent.Outside:
		return "start the agent outside the cluster again (make run-local), which publishes its CA"
	}
	if strings.Contains(fault, "x509: ") { // The prefix of every error of crypto/x509.
		return fmt.Sprintf("publish the CA again: kubectl -n %s rollout restart deployment/%s", s.namespace, api.Agent)
	}
	return fmt.Sprintf("check that no NetworkPolicy, firewall or proxy blocks the API server's connections to the agent: kubectl -n %s get endpointslices -l %s=%s",
		s.namespace, discoveryv1.LabelServiceName, api.Agent)
}
