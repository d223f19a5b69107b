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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// judge answers as it is told, and keeps what it was asked.
type judge struct {
	verdict guard.Verdict
	asked   []guard.Request
	left    time.Duration
}

func (j *judge) Judge(ctx context.Context, request guard.Request) guard.Verdict {
	j.asked = append(j.asked, request)
	if end, limited := ctx.Deadline(); limited {
		j.left = time.Until(end)
	}
	return j.verdict
}

func askDeletion(j Judge, path, method, contentType, body string) (*httptest.ResponseRecorder, counter) {
	counts := counter{}
	request, recorder := httptest.NewRequest(method, path, strings.NewReader(body)), httptest.NewRecorder()
	request.Header.Set("Content-Type", contentType)
	GuardHandler(j, counts, slog.New(slog.DiscardHandler)).ServeHTTP(recorder, request)
	return recorder, counts
}

func deletionReview(change ...string) string {
	body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"DELETE","dryRun":false,"name":"",` +
		`"kind":{"group":"","version":"v1","kind":"Node"},"resource":{"group":"","version":"v1","resource":"nodes"},"userInfo":{"username":"jane","groups":["ops","system:authenticated"],"extra":{"a":["b"]}},"object":null,` +
		`"oldObject":{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","uid":"n-1","labels":{"pool":"blue"},"annotations":{"a":"b"},"finalizers":["a/b"]},` +
		`"spec":{"unschedulable":true,"taints":[{"key":"k","effect":"NoSchedule","timeAdded":"2026-01-31T04:00:00Z"}]},"status":{"images":[]}}}}`
	return strings.NewReplacer(change...).Replace(body)
}

func TestGuardHandlerAsks(t *testing.T) {
	j := &judge{verdict: guard.Verdict{Allowed: true, Warnings: []string{"careful"}}}
	recorder, counts := askDeletion(j, "/guard-node?timeout=5s", http.MethodPost, "application/json", deletionReview(`"dryRun":false`, `"dryRun":true`))
	added := metav1.NewTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	want := guard.Request{
		Node: &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "n-1", Labels: map[string]string{"pool": "blue"}, Annotations: map[string]string{"a": "b"}, Finalizers: []string{"a/b"}},
			Spec:       corev1.NodeSpec{Unschedulable: true, Taints: []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule, TimeAdded: &added}}},
		},
		User: "jane", Groups: []string{"ops", "system:authenticated"}, DryRun: true,
	}
	if len(j.asked) != 1 {
		t.Fatalf("answered %d %s", recorder.Code, recorder.Body)
	}
	if got := j.asked[0]; !got.Node.Spec.Taints[0].TimeAdded.Equal(&added) {
		t.Errorf("the taint was added at %s", got.Node.Spec.Taints[0].TimeAdded)
	}
	j.asked[0].Node.Spec.Taints[0].TimeAdded = &added // The same, in local time.
	if !reflect.DeepEqual(j.asked[0], want) {
		t.Errorf("asked %+v, want %+v", j.asked[0], want)
	}
	if j.left > 4*time.Second || j.left < 3500*time.Millisecond {
		t.Errorf("of 5 s there are %s to answer in", j.left)
	}
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if answer.APIVersion != "admission.k8s.io/v1" || answer.Kind != "AdmissionReview" || !reflect.DeepEqual(answer.Response, &admissionv1.AdmissionResponse{UID: "u", Allowed: true, Warnings: []string{"careful"}}) {
		t.Errorf("answered %s", recorder.Body)
	}
	if counts["DELETE allowed"] != 1 || len(counts) != 1 {
		t.Errorf("counted %v", counts)
	}
}

func TestGuardHandlerRefusesByAClearAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		verdict guard.Verdict
		counted string
	}{
		"refused":    {guard.Verdict{Message: "node n was not deleted: it is precious"}, "DELETE refused"},
		"unreadable": {guard.Verdict{Message: "node n was not deleted: no route", Unread: []guard.Unread{{Rule: guard.CriticalPods, Err: errors.New("no route")}}}, "DELETE error"},
	} {
		t.Run(name, func(t *testing.T) {
			recorder, counts := askDeletion(&judge{verdict: test.verdict}, "/guard-node", http.MethodPost, "application/json", deletionReview())
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

// Who is to try again is told so in a way that clients know.
func TestGuardHandlerSaysWhenToTryAgain(t *testing.T) {
	recorder, counts := askDeletion(&judge{verdict: guard.Verdict{Busy: true, Message: "node n was not deleted: try again"}}, "/guard-node", http.MethodPost, "application/json", deletionReview())
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

func TestGuardHandlerTakesTheTimeItHas(t *testing.T) {
	for path, most := range map[string]time.Duration{"/guard-node": 2400 * time.Millisecond, "/guard-node?timeout=1s": 800 * time.Millisecond, "/guard-node?timeout=soon": 2400 * time.Millisecond, "/guard-node?timeout=-1s": 2400 * time.Millisecond, "/guard-node?timeout=30s": 8 * time.Second} {
		j := &judge{verdict: guard.Verdict{Allowed: true}}
		askDeletion(j, path, http.MethodPost, "application/json", deletionReview())
		if j.left > most || j.left < most-time.Second/2 {
			t.Errorf("%s leaves %s, want %s", path, j.left, most)
		}
	}
}

func TestGuardHandlerRefusesWhatIsNoNodeDeletion(t *testing.T) {
	const old = `"oldObject":{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","uid":"n-1","labels":{"pool":"blue"},"annotations":{"a":"b"},"finalizers":["a/b"]},`
	for name, test := range map[string]struct {
		method, contentType, body string
		status                    int
		says                      string
	}{
		"method":       {http.MethodPut, "application/json", deletionReview(), 405, "POST"},
		"content type": {http.MethodPost, "application/yaml", deletionReview(), 415, "application/json"},
		"no JSON":      {http.MethodPost, "application/json", "{", 400, "decoding the request"},
		"too large":    {http.MethodPost, "application/json", `{"kind":"` + strings.Repeat("x", MaxBody) + `"}`, 413, "larger than 3145728 bytes"},
		"version":      {http.MethodPost, "application/json", deletionReview("admission.k8s.io/v1", "admission.k8s.io/v1beta1"), 400, "v1beta1"},
		"no request":   {http.MethodPost, "application/json", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, 400, "no request"},
		"no uid":       {http.MethodPost, "application/json", deletionReview(`"uid":"u",`, ""), 400, "no uid"},
		"resource":     {http.MethodPost, "application/json", deletionReview(`"nodes"`, `"pods"`), 400, "this webhook is for nodes"},
		"subresource":  {http.MethodPost, "application/json", deletionReview(`"uid":"u"`, `"uid":"u","subResource":"status"`), 400, "this webhook is for nodes"},
		"another kind": {http.MethodPost, "application/json", deletionReview(`"version":"v1","kind":"Node"`, `"version":"v1","kind":"DeleteOptions"`), 400, "this webhook is for a Node of v1"},
		"no kind":      {http.MethodPost, "application/json", deletionReview(`"kind":{"group":"","version":"v1","kind":"Node"},`, ""), 400, "this webhook is for a Node of v1"},
		"operation":    {http.MethodPost, "application/json", deletionReview("DELETE", "CREATE"), 400, "the operation is CREATE, this webhook is for DELETE"},
		"a creation":   {http.MethodPost, "application/json", question(), 400, "the operation is CREATE"},
		"no node":      {http.MethodPost, "application/json", deletionReview(old, `"oldObject":{"a":"b",`), 400, "no old node"},
		"no node name": {http.MethodPost, "application/json", deletionReview(`"name":"n"`, `"name":""`), 400, "no name or no uid"},
		"a path":       {http.MethodPost, "application/json", deletionReview(`"name":"n"`, `"name":"../pods"`), 400, "no name of a node"},
		"no node uid":  {http.MethodPost, "application/json", deletionReview(`"uid":"n-1"`, `"uid":""`), 400, "no name or no uid"},
		"wrong kind":   {http.MethodPost, "application/json", deletionReview(old, `"oldObject":{"metadata":[],`), 400, "decoding the request"},
		"long name":    {http.MethodPost, "application/json", deletionReview(`"username":"jane"`, `"username":"`+strings.Repeat("j", 2<<10)+`"`), 400, "2048 bytes long"},
		"nobody":       {http.MethodPost, "application/json", deletionReview(`"username":"jane"`, `"username":""`), 400, "does not say who asks"},
		"name twice":   {http.MethodPost, "application/json", deletionReview(`"dryRun":false`, `"dryRun":false,"dryRun":true`), 400, "duplicate"},
	} {
		t.Run(name, func(t *testing.T) {
			j := &judge{verdict: guard.Verdict{Allowed: true}}
			recorder, counts := askDeletion(j, "/guard-node", test.method, test.contentType, test.body)
			if recorder.Code != test.status || !strings.Contains(recorder.Body.String(), test.says) || len(j.asked) > 0 {
				t.Errorf("answered %d %s, want %d %q; asked %v", recorder.Code, recorder.Body, test.status, test.says, j.asked)
			}
			if counts[" refused"] != 1 {
				t.Errorf("counted %v", counts)
			}
		})
	}
}

// decider is the guard without what it reads and writes.
type decider struct{ settings *config.Config }

func (d decider) Judge(_ context.Context, request guard.Request) guard.Verdict {
	return guard.Decide(d.settings, request, guard.Facts{OtherSchedulable: true}, time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
}

// FuzzGuardHandler: whatever is asked, the answer is a clear refusal, or one that fits the
// question; a protected Node is never let go for being written strangely.
func FuzzGuardHandler(f *testing.F) {
	glass := `"a":"b","nodecleanup.io/protect":"true","nodecleanup.io/break-glass":"why","nodecleanup.io/break-glass-until":"2026-01-31T05:00:00Z"`
	for _, seed := range []string{
		deletionReview(), deletionReview("DELETE", "CREATE"), deletionReview(`"a":"b"`, `"nodecleanup.io/protect":"true"`), deletionReview(`"a":"b"`, `"nodecleanup.io/protect":"?"`),
		deletionReview(`"a":"b"`, glass), deletionReview(`"a":"b"`, strings.Replace(glass, "2026", "2025", 1)), deletionReview(`"ops"`, `"cloud"`), deletionReview(`"jane"`, `"exempt"`),
		deletionReview(`"name":"n"`, `"name":"n","deletionTimestamp":"2026-01-31T03:00:00Z"`), deletionReview(`"blue"`, `7`), deletionReview(`"uid":"u"`, `"uid":{}`), deletionReview(`"oldObject":`, `"oldObject":null,"x":`),
		deletionReview(`"pool":"blue"`, `"node-role.kubernetes.io/control-plane":""`), deletionReview(`{"a":["b"]}`, strings.Repeat("[", 2000)+strings.Repeat("]", 2000)), "", "null", "[]", "{", "\x00", `{"request":null}`,
	} {
		f.Add(seed)
	}
	settings := &config.Config{NodeSelector: labels.Everything(), Guard: config.Guard{Enabled: true, ControlPlane: config.Refuse, ExemptUsers: []string{"exempt"}, ExemptGroups: []string{"cloud"}}}
	handler := GuardHandler(decider{settings}, counter{}, slog.New(slog.DiscardHandler))
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
		// Read without types: names count as they are written, as for the API server.
		var asked map[string]any
		if err := json.Unmarshal([]byte(body), &asked); err != nil {
			t.Fatalf("%q was answered though it is broken: %v", body, err)
		}
		question, _ := asked["request"].(map[string]any)
		var answer admissionv1.AdmissionReview
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		if string(answer.Response.UID) != question["uid"] || question["operation"] != "DELETE" || answer.Response.Allowed != (answer.Response.Result == nil) {
			t.Fatalf("%q was answered %s", body, recorder.Body)
		}
		node := &unstructured.Unstructured{Object: question["oldObject"].(map[string]any)}
		deleted, _, _ := unstructured.NestedString(node.Object, "metadata", "deletionTimestamp")
		user, _, _ := unstructured.NestedString(question, "userInfo", "username")
		groups, _, _ := unstructured.NestedStringSlice(question, "userInfo", "groups")
		exempt := user == "exempt" || slices.Contains(groups, "cloud") || node.GetAnnotations()[api.AnnotationBreakGlass] != "" || deleted != ""
		if protected, _ := api.Protected(node); protected && !exempt && answer.Response.Allowed {
			t.Fatalf("%q was answered %s", body, recorder.Body)
		}
	})
}
