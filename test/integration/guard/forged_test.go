package guard_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Without client certificates every pod can ask the webhook. What it makes up has the agent
// read one object, write nothing, and tell nobody.
func TestAQuestionAboutAnInventedNodeHasNoEffect(t *testing.T) {
	f := setUp(t, "guard: {maxTerminating: 3, lastSchedulable: refuse, criticalPods: [{namespaces: [default]}]}\n")
	real := f.node("real")
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	for name, uid := range map[string]string{"ghost": "made-up", real.Name: "made-up-too"} {
		for _, annotations := range []string{`{}`, `{"nodecleanup.io/protect":"true"}`, `{"nodecleanup.io/break-glass":"forged","nodecleanup.io/break-glass-until":"2126-01-01T00:00:00Z"}`} {
			if answer := f.ask(name, uid, annotations); !answer.Allowed || answer.UID != "q" {
				t.Errorf("about %s the answer is %+v", name, answer)
			}
		}
	}
	events, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	var lists []string
	for _, event := range events {
		if event.User == f.agentName() && event.Verb == "list" && (strings.HasPrefix(event.URI, "/api/v1/nodes") || strings.HasPrefix(event.URI, "/api/v1/pods")) {
			lists = append(lists, event.URI)
		}
	}
	if writes := f.writes(mark); len(writes) > 0 || len(lists) > 0 {
		t.Errorf("the agent wrote %q and listed %q", writes, lists)
	}
	if current := f.read(real); current.Annotations[api.AnnotationDeletionRequestedBy] != "" {
		t.Errorf("the real node says %v", current.Annotations)
	}
	// So that this could fail: the same question about the real one.
	f.node("other")
	f.ask(real.Name, string(real.UID), `{}`)
	if writes := strings.Join(f.writes(mark), "\n"); !strings.Contains(writes, "patch nodes real") || !strings.Contains(writes, "configmaps "+api.GuardName) {
		t.Errorf("about a node that is there the agent wrote %q", writes)
	}
}

// ask asks the webhook as the API server does.
func (f *fixture) ask(name, uid, annotations string) *admissionv1.AdmissionResponse {
	f.Helper()
	review := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"q","operation":"DELETE","kind":{"group":"","version":"v1","kind":"Node"},"resource":{"group":"","version":"v1","resource":"nodes"},`+
		`"userInfo":{"username":"mallory"},"oldObject":{"metadata":{"name":%q,"uid":%q,"finalizers":[%q],"annotations":%s}}}}`, name, uid, api.Finalizer, annotations)
	request, err := http.NewRequestWithContext(f.Context(), http.MethodPost, "https://"+f.webhook+api.GuardPath, strings.NewReader(review))
	if err != nil {
		f.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		f.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		f.Fatal(err)
	}
	answer := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(body, answer); err != nil || answer.Response == nil {
		f.Fatalf("answered %d %s: %v", response.StatusCode, body, err)
	}
	return answer.Response
}
