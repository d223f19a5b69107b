package drain

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// stub plays the API server: it notes requests and answers with a Status.
type stub struct {
	// answer returns the status of a response; code 0 means success.
	answer func(request *http.Request) metav1.Status

	mutex    sync.Mutex
	requests []string
	bodies   []string
}

func (s *stub) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	if strings.HasSuffix(request.URL.Path, "/poddisruptionbudgets") {
		// Budgets may not be watched, so that evictions are by backoff alone.
		reply(writer, failure(403, metav1.StatusReasonForbidden, "cannot list poddisruptionbudgets"))
		return
	}
	var body json.RawMessage
	_ = json.NewDecoder(request.Body).Decode(&body) // Reads have none.
	s.mutex.Lock()
	s.requests = append(s.requests, request.Method+" "+request.URL.Path)
	s.bodies = append(s.bodies, string(body))
	s.mutex.Unlock()
	status := s.answer(request)
	if status.Code == 0 {
		status.Code, status.Status = http.StatusCreated, metav1.StatusSuccess
	}
	reply(writer, status)
}

func reply(writer http.ResponseWriter, status metav1.Status) {
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	writer.Header().Set("Content-Type", "application/json")
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		writer.Header().Set("Retry-After", "1")
	}
	writer.WriteHeader(int(status.Code))
	_ = json.NewEncoder(writer).Encode(status) // The client may have disconnected.
}

func (s *stub) asked() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.requests)
}

func (s *stub) client(t *testing.T) kubernetes.Interface {
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return kubernetes.NewForConfigOrDie(&rest.Config{Host: server.URL, QPS: -1})
}

// clientOver returns a client that needs no network.
func clientOver(transport http.RoundTripper) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(&rest.Config{Host: "http://server", Transport: transport, QPS: -1})
}

// plugin returns the drain with the options, at noon.
func (s *stub) plugin(t *testing.T, o options) (*plugin, *clocktesting.FakeClock) {
	clock := clocktesting.NewFakeClock(noon)
	return &plugin{options: o, client: s.client(t), clock: clock}, clock
}

func failure(code int32, reason metav1.StatusReason, message string) metav1.Status {
	return metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}
}

func caused(status metav1.Status, after int32, cause metav1.CauseType, message string) metav1.Status {
	status.Details = &metav1.StatusDetails{RetryAfterSeconds: after, Causes: []metav1.StatusCause{{Type: cause, Message: message}}}
	return status
}

func overBudget(after int32) metav1.Status {
	return caused(failure(429, metav1.StatusReasonTooManyRequests, "Cannot evict pod"), after, policyv1.DisruptionBudgetCause, "budget cart needs 1")
}

func TestEvictionResponses(t *testing.T) {
	for name, test := range map[string]struct {
		answer metav1.Status
		// blocked is the reason for a later retry, failed is part of the error.
		blocked, failed string
		after           time.Duration
		cause           api.BlockedCause
	}{
		"evicted":                   {},
		"deleted":                   {answer: failure(404, metav1.StatusReasonNotFound, "no such pod")},
		"namespace terminates":      {answer: caused(failure(403, metav1.StatusReasonForbidden, "no"), 0, corev1.NamespaceTerminatingCause, "ends"), blocked: "its namespace is terminating", cause: api.BlockedByNamespace},
		"budget":                    {answer: overBudget(0), blocked: "budget cart needs 1", cause: api.BlockedByBudget},
		"budget is not counted":     {answer: overBudget(10), blocked: "budget cart needs 1", after: 10 * time.Second, cause: api.BlockedByBudget},
		"budget counts behind":      {answer: caused(failure(403, metav1.StatusReasonForbidden, "no"), 0, policyv1.DisruptionBudgetCause, "too many pending"), blocked: "too many pending", cause: api.BlockedByBudget},
		"two budgets":               {answer: failure(500, "", "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."), blocked: "more than one budget selects it, which the eviction API does not support: delete all but one", cause: api.BlockedByBudgets},
		"another pod":               {answer: failure(409, metav1.StatusReasonConflict, "the UID in the precondition does not match"), blocked: "the pod changed during the eviction", cause: api.BlockedByServer},
		"budget is contended":       {answer: caused(failure(504, metav1.StatusReasonTimeout, "couldn't update\n budget"), 10, "", ""), blocked: "couldn't update budget", after: 10 * time.Second, cause: api.BlockedByServer},
		"a webhook moves it":        {answer: failure(429, metav1.StatusReasonTooManyRequests, "it is being migrated"), blocked: "it is being migrated", cause: api.BlockedByServer},
		"a webhook denies it":       {answer: failure(403, metav1.StatusReasonForbidden, `admission webhook "vm" denied the request: it is being migrated`), blocked: `admission webhook "vm" denied the request: it is being migrated; ask the owner of admission webhook vm`, cause: api.BlockedByAdmission},
		"a webhook says 404":        {answer: failure(404, metav1.StatusReasonNotFound, `admission webhook "vm" denied the request: the pod is not in my cache`), blocked: `admission webhook "vm" denied the request: the pod is not in my cache; ask the owner of admission webhook vm`, cause: api.BlockedByAdmission},
		"API server is unavailable": {answer: failure(503, metav1.StatusReasonServiceUnavailable, "later"), blocked: "later", cause: api.BlockedByServer},
		"no right":                  {answer: failure(403, metav1.StatusReasonForbidden, "cannot create pods/eviction"), failed: "cannot create pods/eviction"},
		"invalid":                   {answer: failure(422, metav1.StatusReasonInvalid, "no"), failed: "no"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stub{answer: func(*http.Request) metav1.Status { return test.answer }}
			p, _ := s.plugin(t, options{})
			err := p.evict(t.Context(), makePod("cart"), nil, false)
			var blocked blockedError
			switch {
			case test.failed != "":
				if err == nil || errors.As(err, &blocked) || !strings.Contains(err.Error(), test.failed) {
					t.Errorf("error is %v, want %q", err, test.failed)
				}
			case test.blocked != "":
				if !errors.As(err, &blocked) || blocked != (blockedError{test.cause, test.blocked, test.after}) {
					t.Errorf("error is %#v, want blocked: %q after %s", err, test.blocked, test.after)
				}
			case err != nil:
				t.Errorf("error is %v", err)
			}
			// client-go would retry a response with Retry-After, and sleep in between.
			if asked := s.asked(); len(asked) != 1 {
				t.Errorf("asked %q", asked)
			}
			if !strings.Contains(s.bodies[0], `"preconditions":{"uid":"uid-of-cart"}`) {
				t.Errorf("no UID in %s", s.bodies[0])
			}
		})
	}
}

func TestDrainSurvivesAnAPIServerOutage(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	p := &plugin{client: kubernetes.NewForConfigOrDie(&rest.Config{Host: server.URL})}
	err := p.evict(t.Context(), makePod("cart"), nil, false)
	var blocked blockedError
	if !errors.As(err, &blocked) || !strings.Contains(blocked.reason, "connection refused") {
		t.Errorf("error is %v", err)
	}
}
