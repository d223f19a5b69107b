package admission

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/labels"
)

type counter map[string]int

func (c counter) WebhookRequest(operation, result string, _ time.Duration) {
	c[operation+" "+result]++
}

func ask(t *testing.T, selector, method, contentType, body string) (*httptest.ResponseRecorder, counter) {
	t.Helper()
	chosen, err := labels.Parse(selector)
	if err != nil {
		t.Fatal(err)
	}
	counts := counter{}
	request := httptest.NewRequest(method, "/mutate-node", strings.NewReader(body))
	request.Header.Set("Content-Type", contentType)
	recorder := httptest.NewRecorder()
	Handler(func() labels.Selector { return chosen }, counts, slog.New(slog.DiscardHandler)).ServeHTTP(recorder, request)
	return recorder, counts
}

func question(change ...string) string {
	body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE",` +
		`"kind":{"group":"","version":"v1","kind":"Node"},"resource":{"group":"","version":"v1","resource":"nodes"},"object":{"metadata":{"name":"n","labels":{"pool":"blue"}}}}}`
	return strings.NewReplacer(change...).Replace(body)
}

// nested returns so many arrays, one in the other.
func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func TestHandlerAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		selector, body, patch, counted string
	}{
		"no finalizers":      {"", question(), `[{"op":"add","path":"/metadata/finalizers","value":["nodecleanup.io/finalizer"]}]`, "CREATE patched"},
		"other finalizers":   {"", question(`"name":"n"`, `"finalizers":["a/b"]`), `[{"op":"add","path":"/metadata/finalizers/-","value":"nodecleanup.io/finalizer"}]`, "CREATE patched"},
		"has our finalizer":  {"", question(`"name":"n"`, `"finalizers":["nodecleanup.io/finalizer"]`), "", "CREATE unchanged"},
		"selected":           {"pool=blue", question(), `[{"op":"add","path":"/metadata/finalizers","value":["nodecleanup.io/finalizer"]}]`, "CREATE patched"},
		"not selected":       {"pool=red", question(), "", "CREATE unchanged"},
		"as deep as allowed": {"", question(`"uid":"u"`, `"uid":"u","x":`+nested(98)), `[{"op":"add","path":"/metadata/finalizers","value":["nodecleanup.io/finalizer"]}]`, "CREATE patched"},
		"brackets in text":   {"", question(`"name":"n"`, `"name":"n","x":"\"`+strings.Repeat("[", 200)+`\\"`), `[{"op":"add","path":"/metadata/finalizers","value":["nodecleanup.io/finalizer"]}]`, "CREATE patched"},
		"null finalizers":    {"", question(`"name":"n"`, `"finalizers":null`), `[{"op":"add","path":"/metadata/finalizers","value":["nodecleanup.io/finalizer"]}]`, "CREATE patched"},
	} {
		t.Run(name, func(t *testing.T) {
			recorder, counts := ask(t, test.selector, http.MethodPost, "application/json", test.body)
			var answer admissionv1.AdmissionReview
			if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
				t.Fatalf("%d %s: %v", recorder.Code, recorder.Body, err)
			}
			response := answer.Response
			if answer.APIVersion != "admission.k8s.io/v1" || answer.Kind != "AdmissionReview" || response.UID != "u" || !response.Allowed {
				t.Errorf("answered %s", recorder.Body)
			}
			var patch bytes.Buffer
			if len(response.Patch) > 0 {
				if err := json.Compact(&patch, response.Patch); err != nil || *response.PatchType != admissionv1.PatchTypeJSONPatch {
					t.Fatalf("patch of type %v: %v", response.PatchType, err)
				}
			}
			if patch.String() != test.patch {
				t.Errorf("patch is %s, want %s", patch.String(), test.patch)
			}
			if counts[test.counted] != 1 || len(counts) != 1 {
				t.Errorf("counted %v, want one %q", counts, test.counted)
			}
		})
	}
}

func TestDryRunsGetAWarning(t *testing.T) {
	for name, test := range map[string]struct{ selector, body, want string }{
		"dry run":               {"", question(`"uid":"u"`, `"uid":"u","dryRun":true`), `"warnings":["nodecleanup: webhook finalizer.nodecleanup.io answered this dry run"]`},
		"dry run, not selected": {"pool=red", question(`"uid":"u"`, `"uid":"u","dryRun":true`), `"warnings":["nodecleanup: webhook finalizer.nodecleanup.io answered this dry run"]`},
		"no dry run":            {"", question(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			recorder, _ := ask(t, test.selector, http.MethodPost, "application/json", test.body)
			body := recorder.Body.String()
			if !strings.Contains(body, test.want) || strings.Contains(body, "warnings") != (test.want != "") {
				t.Errorf("answered %s", body)
			}
		})
	}
}

func TestHandlerRejectsOtherReviews(t *testing.T) {
	for name, test := range map[string]struct {
		method, contentType, body string
		status                    int
		says                      string
	}{
		"method":                         {http.MethodGet, "application/json", question(), 405, "POST"},
		"content type":                   {http.MethodPost, "text/plain", question(), 415, "application/json"},
		"invalid JSON":                   {http.MethodPost, "application/json", "{", 400, "decoding the request"},
		"empty":                          {http.MethodPost, "application/json", "", 400, "decoding the request"},
		"too large":                      {http.MethodPost, "application/json", `{"kind":"` + strings.Repeat("x", MaxBody) + `"}`, 413, "larger than 3145728 bytes"},
		"other version":                  {http.MethodPost, "application/json", question("admission.k8s.io/v1", "admission.k8s.io/v1beta1"), 400, "v1beta1"},
		"other review kind":              {http.MethodPost, "application/json", question("AdmissionReview", "Pod"), 400, "Pod"},
		"missing request":                {http.MethodPost, "application/json", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, 400, "no request"},
		"missing uid":                    {http.MethodPost, "application/json", question(`"uid":"u",`, ""), 400, "no uid"},
		"other resource":                 {http.MethodPost, "application/json", question(`"nodes"`, `"pods"`), 400, "this webhook handles nodes"},
		"subresource":                    {http.MethodPost, "application/json", question(`"uid":"u"`, `"uid":"u","subResource":"status"`), 400, "this webhook handles nodes"},
		"other object kind":              {http.MethodPost, "application/json", question(`"Node"`, `"Scale"`), 400, "this webhook handles a Node of v1"},
		"duplicate group in kind":        {http.MethodPost, "application/json", question(`"version":"v1","kind"`, `"group":"x","version":"v1","kind"`), 400, "duplicate"},
		"kind of another group":          {http.MethodPost, "application/json", question(`{"group":"","version":"v1","kind"`, `{"group":"x","version":"v2","kind"`), 400, `"Node" of "x/v2"`},
		"missing kind":                   {http.MethodPost, "application/json", question(`"kind":{"group":"","version":"v1","kind":"Node"},`, ""), 400, "this webhook handles a Node of v1"},
		"other operation":                {http.MethodPost, "application/json", question("CREATE", "DELETE"), 400, "DELETE"},
		"object is a number":             {http.MethodPost, "application/json", question(`"object":{"metadata":{"name":"n","labels":{"pool":"blue"}}}`, `"object":7`), 400, "decoding the request"},
		"labels are a list":              {http.MethodPost, "application/json", question(`{"pool":"blue"}`, `[]`), 400, "JSON array"},
		"null object":                    {http.MethodPost, "application/json", question(`"object":{"metadata":{"name":"n","labels":{"pool":"blue"}}}`, `"object":null`), 400, "no node"},
		"duplicate uid":                  {http.MethodPost, "application/json", question(`"uid":"u"`, `"uid":"u","uid":"v"`), 400, "duplicate"},
		"uid is a number":                {http.MethodPost, "application/json", question(`"uid":"u"`, `"uid":7`), 400, "JSON number"},
		"duplicate label":                {http.MethodPost, "application/json", question(`"pool":"blue"`, `"pool":"blue","pool":"red"`), 400, "duplicate"},
		"duplicate group":                {http.MethodPost, "application/json", question(`"group":""`, `"group":"","group":"apps"`), 400, "duplicate"},
		"duplicate object":               {http.MethodPost, "application/json", question(`"object":`, `"object":{"metadata":{"name":"o"}},"object":`), 400, "duplicate"},
		"truncated":                      {http.MethodPost, "application/json", strings.TrimSuffix(question(), "}}"), 400, "decoding the request"},
		"trailing data":                  {http.MethodPost, "application/json", question() + "{}", 400, "decoding the request"},
		"duplicate in unknown field":     {http.MethodPost, "application/json", question(`"name":"n"`, `"name":"n","x":{"a":1,"a":2}`), 400, "duplicate"},
		"lone surrogate":                 {http.MethodPost, "application/json", question(`"name":"n"`, `"name":"n","x":"\ud83d"`), 400, "surrogate"},
		"invalid UTF-8 in unknown field": {http.MethodPost, "application/json", question(`"name":"n"`, "\"name\":\"n\",\"x\":\"\xff\""), 400, "UTF-8"},
		"invalid UTF-8 in name":          {http.MethodPost, "application/json", question(`"name":"n"`, "\"name\":\"\xff\""), 400, "UTF-8"},
		"nested arrays":                  {http.MethodPost, "application/json", question(`"uid":"u"`, `"uid":"u","x":`+nested(99)), 400, "depth of more than 100"},
		"nested objects":                 {http.MethodPost, "application/json", question(`"uid":"u"`, `"uid":"u","x":`+strings.Repeat(`{"a":`, 99)+"1"+strings.Repeat("}", 99)), 400, "depth of more than 100"},
		"deeply nested arrays":           {http.MethodPost, "application/json", question(`"uid":"u"`, `"uid":"u","x":`+nested(9000)), 400, "depth of more than 100"},
		"name is a number":               {http.MethodPost, "application/json", question(`"name":"n"`, `"name":7`), 400, "JSON number"},
		"unclosed nested arrays":         {http.MethodPost, "application/json", question(`"uid":"u"`, `"uid":"u","x":`+strings.Repeat("[", 1<<20)), 400, "depth"},
	} {
		t.Run(name, func(t *testing.T) {
			recorder, counts := ask(t, "", test.method, test.contentType, test.body)
			if recorder.Code != test.status || !strings.Contains(recorder.Body.String(), test.says) {
				t.Errorf("answered %d %s, want %d %q", recorder.Code, recorder.Body, test.status, test.says)
			}
			if counts[" refused"] != 1 {
				t.Errorf("counted %v", counts)
			}
		})
	}
}
