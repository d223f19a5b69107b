package admission

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// FuzzHandler: the answer to any body is a clear refusal, or one that fits the review.
func FuzzHandler(f *testing.F) {
	for _, seed := range []string{
		question(), question("CREATE", "DELETE"), question(`"name":"n"`, `"finalizers":["a/b"]`), question(`"name":"n"`, `"finalizers":["nodecleanup.io/finalizer"]`),
		question(`"name":"n"`, `"finalizers":null`), question(`"blue"`, `7`), question(`"uid":"u"`, `"uid":{}`), question(`"object":`, `"object":null,"oldObject":`),
		question(`"object":`, `"Object":[],"object":`), question(`{"pool":"blue"}`, nested(2000)), "", "null", "[]", "{", "\x00", `{"request":null}`,
		question(`"name":"n"`, `"name":"\ud83d"`), question(`"name":"n"`, "\"name\":\"\xff\""), question(`"uid":"u"`, `"uid":"u","uid":"v"`), question(`"name":"n"`, `"deletionTimestamp":"2026-01-31T03:00:00Z"`), question() + "{}",
		question(`"name":"n"`, `"name":7`), question(`"uid":"u"`, `"uid":"u","x":`+nested(98)), question(`"uid":"u"`, `"uid":"u","x":`+nested(99)), question(`"name":"n"`, `"name":"\"[[{\\"`), question(`"uid":"u"`, `"uid":"u","x":1e999999`),
	} {
		f.Add(seed)
	}
	handler := Handler(labels.Everything, counter{}, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, body string) {
		request, recorder := httptest.NewRequest(http.MethodPost, "/mutate-node", strings.NewReader(body)), httptest.NewRecorder()
		request.Header.Set("Content-Type", "application/json")
		handler.ServeHTTP(recorder, request)
		var asked, answer admissionv1.AdmissionReview
		if recorder.Code != http.StatusOK {
			if recorder.Code < 400 || recorder.Code > 499 || !strings.HasPrefix(recorder.Body.String(), "nodecleanup-agent: ") || strings.Contains(recorder.Body.String(), `"allowed"`) {
				t.Fatalf("%q was answered %d %s", body, recorder.Code, recorder.Body)
			}
			return
		}
		if got := depth(body); got > 100 {
			t.Fatalf("%q was answered though it is nested %d deep", body, got)
		}
		if err := json.Unmarshal([]byte(body), &asked); err != nil {
			t.Fatalf("%q was answered though it is broken: %v", body, err)
		}
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		node := &metav1.PartialObjectMetadata{}
		if err := json.Unmarshal(asked.Request.Object.Raw, node); err != nil {
			t.Fatalf("%q was answered though its node is broken: %v", body, err)
		}
		if answer.Response.UID != asked.Request.UID || !answer.Response.Allowed || asked.Request.Operation != admissionv1.Create {
			t.Fatalf("%q was answered %s", body, recorder.Body)
		}
		protected := slices.Contains(node.Finalizers, api.Finalizer)
		if terminating := node.DeletionTimestamp != nil; !terminating && protected == (len(answer.Response.Patch) > 0) {
			t.Fatalf("%q has finalizers %q and got the patch %s", body, node.Finalizers, answer.Response.Patch)
		}
	})
}

// depth returns how deep the values of a JSON text are nested.
func depth(body string) (deepest int) {
	decoder, now := json.NewDecoder(strings.NewReader(body)), 0
	for {
		switch token, err := decoder.Token(); {
		case err != nil:
			return deepest
		case token == json.Delim('{') || token == json.Delim('['):
			now++
			deepest = max(deepest, now)
		case token == json.Delim('}') || token == json.Delim(']'):
			now--
		}
	}
}
