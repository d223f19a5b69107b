package webhook

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// answering is a transport that answers each request with the same bytes, and discovery with every
// ability. After some requests, it answers with Done.
type answering struct {
	status, requests int
	body             string
}

func (a *answering) RoundTrip(request *http.Request) (*http.Response, error) {
	body := a.body
	a.requests++
	switch {
	case request.URL.Path == webhookplugin.DiscoveryPath:
		body = `{"versions":["v1"],"abilities":["cleanup","preview","verify"],"name":"x"}`
	case a.requests > 3:
		body = `{"state":"Done"}`
	}
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: request}, nil
}

// FuzzAnswers: whatever a service answers, no text has a control character, a secret or more than a few
// hundred bytes, and only a valid answer is a success.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"state":"Done","outputs":{"a":"b"}}`, `{"state":"InProgress","message":"m\u001b","progress":{"done":1,"total":2},"retryAfterSeconds":1e3}`,
		`{"state":"Failed","message":"` + canary + `","permanent":true}`, `{"effects":[{"action":"A","object":{"kind":"K","name":"n"},"blocked":{"message":"m"}}]}`,
		`{"undone":"x"}`, `{"undone":""}`, `null`, "\xff", `{"outputs":{"":""}}`, `{"effects":null}`,
	} {
		f.Add(200, seed)
		f.Add(503, seed)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		transport := &answering{status: status, body: body}
		plugin, faults := Descriptor(&http.Client{Transport: transport}, plugintest.Secrets{"s/token": canary}, newInstant()).
			Bind([]byte(`{"url":"https://x","token":{"secretKeyRef":{"name":"s","key":"token"}}}`))
		if faults != nil {
			t.Fatal(faults)
		}
		var texts []string
		one, reported := target()
		err := plugin.Cleanup(t.Context(), one)
		if err == nil && status/100 != 2 {
			t.Errorf("status %d is a success", status)
		}
		if answer, invalid := webhookplugin.Decode[webhookplugin.Answer]([]byte(body)); err == nil && (invalid != nil || answer.State == webhookplugin.StateFailed) {
			t.Errorf("a success by %q", body)
		}
		if err != nil {
			texts = append(texts, err.Error())
		}
		texts = append(texts, reported.progress...)
		for name, value := range reported.outputs {
			if invalid := cleanup.CheckOutput(name, value); invalid != nil {
				t.Error(invalid)
			}
			texts = append(texts, name, value)
		}
		transport.requests = 0
		undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), one)
		if answer, invalid := webhookplugin.Decode[webhookplugin.VerifyAnswer]([]byte(body)); undone == "" && err == nil && (invalid != nil || *answer.Undone != "") {
			t.Errorf("verified by %q", body)
		}
		texts = append(texts, undone)
		effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), one)
		if err != nil || len(effects) == 0 {
			t.Errorf("the preview is %v, %v", effects, err)
		}
		for _, effect := range effects {
			texts = append(texts, string(effect.Action), effect.Object.Kind, effect.Object.Namespace, effect.Object.Name, effect.Reason)
			if effect.Blocked != nil {
				texts = append(texts, effect.Blocked.Message, effect.Blocked.Remedy)
			}
		}
		for _, text := range texts {
			if len(text) > 2*maxText || strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(text, canary) {
				t.Errorf("an unsafe text: %q", text)
			}
		}
	})
}
