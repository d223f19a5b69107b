package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// answer is a response of the API server.
type answer struct {
	code    int
	object  any
	warning string
}

// apiServer answers requests by "METHOD path", and fails the test on a write that is not a dry run.
type apiServer struct {
	*testing.T
	answers map[string]answer
	took    time.Duration
}

// RoundTrip implements http.RoundTripper.
func (s apiServer) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet {
		if request.URL.Query().Get("dryRun") != metav1.DryRunAll {
			s.Errorf("%s %s is not a dry run", request.Method, request.URL)
		}
		select {
		case <-time.After(s.took):
		case <-request.Context().Done():
			return nil, request.Context().Err()
		}
	}
	given, known := s.answers[request.Method+" "+request.URL.Path]
	if !known {
		given = answer{code: http.StatusNotFound, object: errorStatus(http.StatusNotFound, metav1.StatusReasonNotFound, "not found")}
	}
	data, err := json.Marshal(given.object)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if given.warning != "" {
		header.Set("Warning", fmt.Sprintf("299 - %q", given.warning))
	}
	return &http.Response{StatusCode: given.code, Header: header, Body: io.NopCloser(strings.NewReader(string(data))), Request: request}, nil
}

func errorStatus(code int32, reason metav1.StatusReason, message string) metav1.Status {
	return metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}
}

// authority returns a new CA in PEM.
func authority(t *testing.T) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: night.Add(-time.Hour), NotAfter: night.Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestDryRunDeletionTestsTheGuard(t *testing.T) {
	const deletion, secret = "DELETE /api/v1/nodes/worker", "GET /api/v1/namespaces/ns/secrets/" + api.CASecretName
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "u1"}}
	agents, foreign := authority(t), authority(t)
	ca := map[string]any{"data": map[string]string{corev1.TLSCertKey: base64.StdEncoding.EncodeToString(agents)}}
	ok := metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess}
	hook := `admission webhook "` + api.GuardHook + `" `
	for name, test := range map[string]struct {
		answer  answer
		change  func(*subject)
		took    time.Duration
		outcome printer.Outcome
		says    []string
	}{
		"it answers": {answer{200, ok, api.DryRunWarning(api.GuardHook)}, nil, 0, printer.Pass, []string{"it answered a dry-run deletion of node worker; failurePolicy Ignore"}},
		"it denies": {answer{403, errorStatus(403, metav1.StatusReasonForbidden, hook+"denied the request: protected"), ""}, nil, 0, printer.Pass,
			[]string{"it denied a dry-run deletion of node worker"}},
		"no answer, another CA": {answer{200, ok, ""}, nil, 0, printer.Error, []string{
			"the API server got no answer from it to a dry-run deletion of node worker", "so deletions are not guarded", "x509: certificate signed by unknown authority",
		}},
		"no answer within the webhook's timeout": {answer{200, ok, ""}, nil, 4 * time.Second, printer.Error, []string{"got no answer", "not guarded"}},
		"no answer, another issuer": {answer{200, ok, ""}, func(s *subject) {
			s.snapshot.Deployment = &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: []string{"--webhook-cert-file=/c"}}}}}}}
		}, 0, printer.Error, []string{"not guarded"}},
		"the webhook fails": {answer{500, errorStatus(500, metav1.StatusReasonInternalError, `Internal error occurred: failed calling webhook "`+api.GuardHook+`": x509: unknown`), ""},
			func(s *subject) { s.status.Guard.FailurePolicy = "Fail" }, 0, printer.Error, []string{"x509: unknown", "so every deletion of a node is refused"}},
		"an older agent": {answer{200, ok, ""}, func(s *subject) {
			s.status.Agent.Version, s.snapshot.Guard = "v0.1.0", nil
		}, 0, printer.Skip, []string{"not tested", "v0.1.0"}},
		"no right": {answer{403, errorStatus(403, metav1.StatusReasonForbidden, `nodes "worker" is forbidden: User "bob" cannot delete resource "nodes"`), ""}, nil, 0, printer.Skip,
			[]string{"you lack: delete nodes"}},
		"another webhook": {answer{400, errorStatus(400, metav1.StatusReasonBadRequest, `admission webhook "x.example.com" does not support dry run`), ""}, nil, 0, printer.Skip,
			[]string{`the dry-run deletion of node worker failed: admission webhook "x.example.com" does not support dry run`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSubject(func(status *printer.Status) { status.Agent.Version = version.Version })
				s.snapshot = &inspect.Snapshot{Guard: &admissionv1.ValidatingWebhookConfiguration{Webhooks: []admissionv1.ValidatingWebhook{{
					Name: api.GuardHook, ClientConfig: admissionv1.WebhookClientConfig{CABundle: foreign},
				}}}}
				s.client = kubernetes.NewForConfigOrDie(&rest.Config{Host: "http://cluster", Transport: apiServer{t, map[string]answer{
					"GET /api/v1/nodes": {200, corev1.NodeList{Items: []corev1.Node{node}}, ""}, deletion: test.answer, secret: {200, ca, ""},
				}, test.took}})
				if test.change != nil {
					test.change(s)
				}
				got := guard(t.Context(), s)
				if got.outcome != test.outcome {
					t.Errorf("the check says %+v", got)
				}
				for _, want := range test.says {
					if !strings.Contains(got.detail, want) {
						t.Errorf("%q is not in %q", want, got.detail)
					}
				}
				if name == "no answer, another issuer" && strings.Contains(got.detail, "x509") {
					t.Errorf("a CA that is not in use is the cause: %q", got.detail)
				}
			})
		})
	}
}

func TestRemedyFitsTheFaultOfTheWebhook(t *testing.T) {
	const restart, connection = "publish the CA again", "check that no NetworkPolicy, firewall or proxy blocks"
	for fault, want := range map[string]string{
		"The CA bundle does not match: x509: certificate signed by unknown authority.":    restart,
		`failed calling webhook "x": tls: failed to verify certificate: x509: unknown`:    restart,
		`failed calling webhook "x": dial tcp 10.0.0.1:1234: connect: connection refused`: connection,
		`failed calling webhook "x": context deadline exceeded`:                           connection,
		"": connection,
	} {
		s := newSubject(func(*printer.Status) {})
		if got := s.webhookRemedy(s.status, fault); !strings.HasPrefix(got, want) {
			t.Errorf("%q: the remedy is %q", fault, got)
		}
	}
}

func TestDryRunCreationTestsTheFinalizer(t *testing.T) {
	const creation = "POST /api/v1/nodes"
	bare := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
	protected := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "x", Finalizers: []string{api.Finalizer}}}
	answered := api.DryRunWarning(api.WebhookHook)
	for name, test := range map[string]struct {
		answer  answer
		change  func(*subject)
		outcome printer.Outcome
		says    string
	}{
		"by the policy":           {answer{201, protected, ""}, nil, printer.Pass, "the policy adds it; the webhook cannot be tested"},
		"by the policy alone":     {answer{201, protected, ""}, func(s *subject) { s.status.Admission.Ways = []string{"policy"} }, printer.Pass, "the policy adds it"},
		"by the webhook alone":    {answer{201, protected, answered}, func(s *subject) { s.status.Admission.Ways = []string{"webhook"} }, printer.Pass, "the webhook adds it"},
		"the policy does nothing": {answer{201, protected, answered}, nil, printer.Warning, "the webhook adds it, but the policy does not"},
		"neither adds it":         {answer{201, bare, ""}, nil, printer.Error, "missing: neither the policy nor the webhook added it"},
		"neither adds it, invalid config": {answer{201, bare, ""}, func(s *subject) { s.config, s.configErr = nil, fmt.Errorf("line 3") }, printer.Skip,
			"not tested: without a readable and valid config"},
		"no right": {answer{403, errorStatus(403, metav1.StatusReasonForbidden, `nodes is forbidden: User "bob" cannot create resource "nodes"`), ""}, nil, printer.Skip, "you lack: create nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubject(func(*printer.Status) {})
			s.client = kubernetes.NewForConfigOrDie(&rest.Config{Host: "http://cluster", Transport: apiServer{T: t, answers: map[string]answer{creation: test.answer}}})
			s.configRead, s.config = true, &config.Config{NodeSelector: labels.Everything()}
			if test.change != nil {
				test.change(s)
			}
			if got := admission(t.Context(), s); got.outcome != test.outcome || !strings.Contains(got.detail, test.says) {
				t.Errorf("the check says %+v, want %s: %q", got, test.outcome, test.says)
			}
		})
	}
}
