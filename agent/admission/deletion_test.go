package admission

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// evaluator returns one verdict and records the requests.
type evaluator struct {
	verdict   guard.Verdict
	requests  []guard.Request
	remaining time.Duration
}

func (e *evaluator) Evaluate(ctx context.Context, request guard.Request) guard.Verdict {
	e.requests = append(e.requests, request)
	if end, limited := ctx.Deadline(); limited {
		e.remaining = time.Until(end)
	}
	return e.verdict
}

func askDeletion(e Evaluator, path, method, contentType, body string) (*httptest.ResponseRecorder, counter) {
	counts := counter{}
	request, recorder := httptest.NewRequest(method, path, strings.NewReader(body)), httptest.NewRecorder()
	request.Header.Set("Content-Type", contentType)
	GuardHandler(e, func(*http.Request) bool { return false }, counts, slog.New(slog.DiscardHandler)).ServeHTTP(recorder, request)
	return recorder, counts
}

func deletionReview(change ...string) string {
	body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"DELETE","dryRun":false,"name":"",` +
		`"kind":{"group":"","version":"v1","kind":"Node"},"resource":{"group":"","version":"v1","resource":"nodes"},"userInfo":{"username":"jane","groups":["ops","system:authenticated"],"extra":{"a":["b"]}},"object":null,` +
		`"oldObject":{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","uid":"n-1","labels":{"pool":"blue"},"annotations":{"a":"b"},"finalizers":["a/b"]},` +
		`"spec":{"unschedulable":true,"taints":[{"key":"k","effect":"NoSchedule","timeAdded":"2026-01-31T04:00:00Z"}]},"status":{"images":[]}}}}`
	return strings.NewReplacer(change...).Replace(body)
}

func TestGuardHandlerForwardsRequest(t *testing.T) {
	e := &evaluator{verdict: guard.Verdict{Allowed: true, Warnings: []string{"careful"}}}
	recorder, counts := askDeletion(e, "/guard-node?timeout=5s", http.MethodPost, "application/json", deletionReview(`"dryRun":false`, `"dryRun":true`))
	// The sender chooses the labels and annotations: the guard uses them only to deny.
	want := guard.Request{Name: "n", UID: "n-1", Labels: map[string]string{"pool": "blue"}, Annotations: map[string]string{"a": "b"}, User: "jane", Groups: []string{"ops", "system:authenticated"}, DryRun: true}
	if len(e.requests) != 1 || !reflect.DeepEqual(e.requests[0], want) {
		t.Fatalf("asked %+v, want %+v; answered %d %s", e.requests, want, recorder.Code, recorder.Body)
	}
	if e.remaining > 4*time.Second || e.remaining < 3500*time.Millisecond {
		t.Errorf("of 5 s there are %s to answer in", e.remaining)
	}
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if answer.APIVersion != "admission.k8s.io/v1" || answer.Kind != "AdmissionReview" || !reflect.DeepEqual(answer.Response, &admissionv1.AdmissionResponse{UID: "u", Allowed: true, Warnings: []string{"careful", api.DryRunWarning(api.GuardHook)}}) {
		t.Errorf("answered %s", recorder.Body)
	}
	if counts["DELETE allowed"] != 1 || len(counts) != 1 {
		t.Errorf("counted %v", counts)
	}
}

func TestGuardHandlerReturnsForbidden(t *testing.T) {
	for name, test := range map[string]struct {
		verdict guard.Verdict
		counted string
	}{
		"refused":    {guard.Verdict{Message: "node n was not deleted: it is precious"}, "DELETE refused"},
		"unreadable": {guard.Verdict{Message: "node n was not deleted: no route", Unread: []guard.Unread{{Rule: guard.CriticalPods, Err: errors.New("no route")}}}, "DELETE error"},
	} {
		t.Run(name, func(t *testing.T) {
			recorder, counts := askDeletion(&evaluator{verdict: test.verdict}, "/guard-node", http.MethodPost, "application/json", deletionReview())
			var answer admissionv1.AdmissionReview
			if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
			want := &metav1.Status{Status: "Failure", Reason: metav1.StatusReasonForbidden, Code: 403, Message: test.verdict.Message}
			if answer.Response.Allowed || answer.Response.UID != "u" || !reflect.DeepEqual(answer.Response.Result, want) {
				t.Errorf("answered %s", recorder.Body)
			}
			if counts[test.counted] != 1 || len(counts) != 1 {
				t.Errorf("counted %v", counts)
			}
		})
	}
}

// A caller that should retry gets a status that clients retry.
func TestGuardHandlerReturnsRetriableStatus(t *testing.T) {
	recorder, counts := askDeletion(&evaluator{verdict: guard.Verdict{Busy: true, Message: "node n was not deleted: try again"}}, "/guard-node", http.MethodPost, "application/json", deletionReview())
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	want := &metav1.Status{Status: "Failure", Reason: metav1.StatusReasonTooManyRequests, Code: 429, Message: "node n was not deleted: try again", Details: &metav1.StatusDetails{RetryAfterSeconds: 1}}
	if answer.Response.Allowed || !reflect.DeepEqual(answer.Response.Result, want) {
		t.Errorf("answered %s", recorder.Body)
	}
	if counts["DELETE error"] != 1 || len(counts) != 1 {
		t.Errorf("counted %v", counts)
	}
}

func TestGuardHandlerRespectsWebhookTimeout(t *testing.T) {
	for path, most := range map[string]time.Duration{"/guard-node": 2400 * time.Millisecond, "/guard-node?timeout=1s": 800 * time.Millisecond, "/guard-node?timeout=soon": 2400 * time.Millisecond, "/guard-node?timeout=-1s": 2400 * time.Millisecond, "/guard-node?timeout=30s": 8 * time.Second} {
		e := &evaluator{verdict: guard.Verdict{Allowed: true}}
		askDeletion(e, path, http.MethodPost, "application/json", deletionReview())
		if e.remaining > most || e.remaining < most-time.Second/2 {
			t.Errorf("%s leaves %s, want %s", path, e.remaining, most)
		}
	}
}

func TestGuardHandlerRejectsOtherReviews(t *testing.T) {
	const old = `"oldObject":{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","uid":"n-1","labels":{"pool":"blue"},"annotations":{"a":"b"},"finalizers":["a/b"]},`
	for name, test := range map[string]struct {
		method, contentType, body string
		status                    int
		says                      string
	}{
		"method":                    {http.MethodPut, "application/json", deletionReview(), 405, "POST"},
		"content type":              {http.MethodPost, "application/yaml", deletionReview(), 415, "application/json"},
		"invalid JSON":              {http.MethodPost, "application/json", "{", 400, "decoding the request"},
		"too large":                 {http.MethodPost, "application/json", `{"kind":"` + strings.Repeat("x", MaxBody) + `"}`, 413, "larger than 3145728 bytes"},
		"other version":             {http.MethodPost, "application/json", deletionReview("admission.k8s.io/v1", "admission.k8s.io/v1beta1"), 400, "v1beta1"},
		"missing request":           {http.MethodPost, "application/json", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, 400, "no request"},
		"missing uid":               {http.MethodPost, "application/json", deletionReview(`"uid":"u",`, ""), 400, "no uid"},
		"other resource":            {http.MethodPost, "application/json", deletionReview(`"nodes"`, `"pods"`), 400, "this webhook handles nodes"},
		"subresource":               {http.MethodPost, "application/json", deletionReview(`"uid":"u"`, `"uid":"u","subResource":"status"`), 400, "this webhook handles nodes"},
		"other kind":                {http.MethodPost, "application/json", deletionReview(`"version":"v1","kind":"Node"`, `"version":"v1","kind":"DeleteOptions"`), 400, "this webhook handles a Node of v1"},
		"missing kind":              {http.MethodPost, "application/json", deletionReview(`"kind":{"group":"","version":"v1","kind":"Node"},`, ""), 400, "this webhook handles a Node of v1"},
		"other operation":           {http.MethodPost, "application/json", deletionReview("DELETE", "CREATE"), 400, "unsupported operation CREATE; this webhook handles DELETE"},
		"a creation":                {http.MethodPost, "application/json", question(), 400, "unsupported operation CREATE"},
		"missing old node":          {http.MethodPost, "application/json", deletionReview(old, `"oldObject":{"a":"b",`), 400, "no old node"},
		"empty node name":           {http.MethodPost, "application/json", deletionReview(`"name":"n"`, `"name":""`), 400, "no name or no uid"},
		"path as node name":         {http.MethodPost, "application/json", deletionReview(`"name":"n"`, `"name":"../pods"`), 400, "not a valid node name"},
		"empty node uid":            {http.MethodPost, "application/json", deletionReview(`"uid":"n-1"`, `"uid":""`), 400, "no name or no uid"},
		"metadata is a list":        {http.MethodPost, "application/json", deletionReview(old, `"oldObject":{"metadata":[],`), 400, "decoding the request"},
		"long user name":            {http.MethodPost, "application/json", deletionReview(`"username":"jane"`, `"username":"`+strings.Repeat("j", 2<<10)+`"`), 400, "has 2048 bytes"},
		"labels are a list":         {http.MethodPost, "application/json", deletionReview(`"labels":{"pool":"blue"}`, `"labels":[]`), 400, "JSON array"},
		"label is a number":         {http.MethodPost, "application/json", deletionReview(`"blue"`, `7`), 400, "JSON number"},
		"annotation is a boolean":   {http.MethodPost, "application/json", deletionReview(`"annotations":{"a":"b"}`, `"annotations":{"a":true}`), 400, "JSON boolean"},
		"finalizers are a string":   {http.MethodPost, "application/json", deletionReview(`["a/b"]`, `"a/b"`), 400, "JSON string"},
		"invalid deletionTimestamp": {http.MethodPost, "application/json", deletionReview(`"name":"n"`, `"name":"n","deletionTimestamp":"today"`), 400, "decoding the request"},
		"unschedulable is a number": {http.MethodPost, "application/json", deletionReview(`"unschedulable":true`, `"unschedulable":1`), 400, "JSON number"},
		"taint effect is an object": {http.MethodPost, "application/json", deletionReview(`"NoSchedule"`, `{}`), 400, "JSON object"},
		"invalid taint time":        {http.MethodPost, "application/json", deletionReview(`"2026-01-31T04:00:00Z"`, `"today"`), 400, "decoding the request"},
		"missing user":              {http.MethodPost, "application/json", deletionReview(`"username":"jane"`, `"username":""`), 400, "has no user"},
		"duplicate dryRun":          {http.MethodPost, "application/json", deletionReview(`"dryRun":false`, `"dryRun":false,"dryRun":true`), 400, "duplicate"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &evaluator{verdict: guard.Verdict{Allowed: true}}
			recorder, counts := askDeletion(e, "/guard-node", test.method, test.contentType, test.body)
			if recorder.Code != test.status || !strings.Contains(recorder.Body.String(), test.says) || len(e.requests) > 0 {
				t.Errorf("answered %d %s, want %d %q; asked %v", recorder.Code, recorder.Body, test.status, test.says, e.requests)
			}
			if counts[" refused"] != 1 {
				t.Errorf("counted %v", counts)
			}
		})
	}
}

func TestGuardHandlerPassesCallerAuthentication(t *testing.T) {
	for _, verified := range []bool{true, false} {
		e := &evaluator{verdict: guard.Verdict{Allowed: true}}
		request := httptest.NewRequest(http.MethodPost, "/guard-node", strings.NewReader(deletionReview()))
		request.Header.Set("Content-Type", "application/json")
		GuardHandler(e, func(asked *http.Request) bool { return asked.URL.Path == "/guard-node" && verified }, counter{}, slog.New(slog.DiscardHandler)).ServeHTTP(httptest.NewRecorder(), request)
		if len(e.requests) != 1 || e.requests[0].Verified != verified {
			t.Errorf("asked %+v, want verified %v", e.requests, verified)
		}
	}
}

// A refused review does not deny the deletion if failurePolicy is Ignore. A client that may update a Node
// could nest its managedFields, so the limit of a creation does not apply.
func TestGuardHandlerEvaluatesANestedNode(t *testing.T) {
	e := &evaluator{verdict: guard.Verdict{Allowed: true}}
	recorder, _ := askDeletion(e, "/guard-node", http.MethodPost, "application/json", deletionReview(`"images":[]`, `"images":`+nested(9000)))
	if len(e.requests) != 1 {
		t.Errorf("answered %d %s", recorder.Code, recorder.Body)
	}
}

// echo denies every request; the message is the request.
type echo struct{}

func (echo) Evaluate(_ context.Context, request guard.Request) guard.Verdict {
	asked, err := json.Marshal(request)
	if err != nil {
		panic(err)
	}
	return guard.Verdict{Message: string(asked)}
}

// FuzzGuardHandler: the answer to any body is a clear refusal, or one that fits the review. The
// guard is asked about the Node and the user that the review names in the reading of the API
// server, and about no other.
func FuzzGuardHandler(f *testing.F) {
	for _, seed := range []string{
		deletionReview(), deletionReview("DELETE", "CREATE"), deletionReview(`"a":"b"`, `"nodecleanup.io/protect":"true"`), deletionReview(`"uid":"n-1"`, `"uid":"n-1","UID":"n-2"`),
		deletionReview(`"ops"`, `"cloud"`), deletionReview(`"jane"`, `"exempt"`), deletionReview(`"username":"jane"`, `"username":"jane","Username":"exempt"`), deletionReview(`"dryRun":false`, `"dryRun":null`),
		deletionReview(`"name":"n"`, `"name":"n","deletionTimestamp":"2026-01-31T03:00:00Z"`), deletionReview(`"blue"`, `7`), deletionReview(`"uid":"u"`, `"uid":{}`), deletionReview(`"oldObject":`, `"oldObject":null,"x":`),
		deletionReview(`"jane"`, `"j\u0061ne"`), deletionReview(`{"a":["b"]}`, nested(2000)), deletionReview(`"images":[]`, `"images":`+nested(120)),
		deletionReview(`"finalizers":["a/b"]`, `"finalizers":7`), deletionReview(`"unschedulable":true`, `"unschedulable":"true"`), deletionReview(`"NoSchedule"`, `null`), deletionReview(`"uid":"u"`, `"uid":"u","x":1e999999`), "", "null", "[]", "{", "\x00", `{"request":null}`,
	} {
		f.Add(seed)
	}
	handler := GuardHandler(echo{}, func(*http.Request) bool { return false }, counter{}, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, body string) {
		request, recorder := httptest.NewRequest(http.MethodPost, "/guard-node", strings.NewReader(body)), httptest.NewRecorder()
		request.Header.Set("Content-Type", "application/json")
		handler.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusOK {
			if recorder.Code < 400 || recorder.Code > 499 || !strings.HasPrefix(recorder.Body.String(), "nodecleanup-agent: ") || strings.Contains(recorder.Body.String(), `"allowed"`) {
				t.Fatalf("%q was answered %d %s", body, recorder.Code, recorder.Body)
			}
			return
		}
		// Field names are case-sensitive, as in the API server.
		var review map[string]any
		decoder := json.NewDecoder(strings.NewReader(body))
		decoder.UseNumber() // A number of any size is valid JSON.
		if err := decoder.Decode(&review); err != nil || !json.Valid([]byte(body)) {
			t.Fatalf("%q was answered though it is broken: %v", body, err)
		}
		var answer admissionv1.AdmissionReview
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		var asked guard.Request
		if err := json.Unmarshal([]byte(answer.Response.Result.Message), &asked); err != nil {
			t.Fatal(err)
		}
		question, _ := review["request"].(map[string]any)
		text := func(fields ...string) string {
			value, _, _ := unstructured.NestedString(question, fields...)
			return value
		}
		groups, _, _ := unstructured.NestedStringSlice(question, "userInfo", "groups")
		dryRun, _, _ := unstructured.NestedBool(question, "dryRun")
		want := guard.Request{Name: text("oldObject", "metadata", "name"), UID: types.UID(text("oldObject", "metadata", "uid")), User: text("userInfo", "username"), Groups: groups, DryRun: dryRun}
		if string(answer.Response.UID) != text("uid") || text("operation") != "DELETE" || answer.Response.Allowed || asked.Name != want.Name || asked.UID != want.UID || asked.User != want.User ||
			!slices.Equal(asked.Groups, want.Groups) || asked.Annotations[api.AnnotationProtect] != text("oldObject", "metadata", "annotations", api.AnnotationProtect) || asked.DryRun != want.DryRun || asked.Verified {
			t.Fatalf("%q: the guard was asked %+v, want %+v", body, asked, want)
		}
	})
}
