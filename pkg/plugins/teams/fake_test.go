package teams

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// hook is a URL of the form that Power Automate gives: with a port, and with a query that authorizes the request.
const hook = "https://prod-canary.0a.environment.api.powerplatform.com:443/powerautomate/automations/direct/workflows/wf-canary/triggers/manual/paths/invoke" +
	"?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=canary-Zz_9%2BQ"

// flow is a workflow that refuses what Power Automate and Teams refuse: another signature; a body that is not one
// message with one Adaptive Card, or with a card that Teams cannot show; a message that is too large. Sources are
// https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using,
// https://adaptivecards.io/explorer and github.com/MicrosoftDocs/msteams-docs/issues/11274.
type flow struct {
	t      *testing.T
	server *httptest.Server
	mutex  sync.Mutex
	// posted are the texts of the messages.
	posted []posted
	plugintest.Override
}

// posted is one message.
type posted struct {
	lines []string
	card  json.RawMessage
	size  int
	color string
}

func newFlow(t *testing.T) *flow {
	f := &flow{t: t}
	f.server = httptest.NewTLSServer(f)
	t.Cleanup(f.server.Close)
	return f
}

// RoundTrip sends what is meant for Power Automate to the workflow of the test.
func (f *flow) RoundTrip(request *http.Request) (*http.Response, error) {
	want, err := url.Parse(hook)
	if err != nil {
		return nil, err
	}
	if request.URL.Host != want.Host || request.URL.Scheme != "https" {
		return nil, fmt.Errorf("the request is for %s", request.URL)
	}
	request = request.Clone(request.Context())
	request.URL.Host = f.server.Listener.Addr().String()
	return f.server.Client().Transport.RoundTrip(request)
}

func (f *flow) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	if f.Overrides(writer, request) {
		return
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	body, err := io.ReadAll(request.Body)
	if err != nil {
		f.t.Error(err)
	}
	want, err := url.Parse(hook)
	if err != nil {
		f.t.Error(err)
	}
	if request.Method != http.MethodPost || request.URL.Path != want.Path || request.URL.RawQuery != want.RawQuery {
		writer.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(writer, `{"error":{"code":"DirectApiAuthorizationRequired","message":"the signature %s is wrong"}}`, request.URL.RawQuery)
		return
	}
	message, problem := parse(body)
	if problem != "" || !strings.HasPrefix(request.Header.Get("Content-Type"), "application/json") {
		f.t.Errorf("the message %s: %s", problem, body)
		writer.WriteHeader(http.StatusBadRequest)
		return
	}
	f.posted = append(f.posted, message)
	writer.WriteHeader(http.StatusAccepted)
}

// maxExpanded is the limit of Teams in bytes. It counts more than the request has: in the example of the issue, 18 %.
const maxExpanded = 28 << 10

// parse reads a request, and returns what is wrong with it.
func parse(body []byte) (message posted, problem string) {
	var document struct {
		Type        string `json:"type"`
		Attachments []struct {
			ContentType string          `json:"contentType"`
			Content     json.RawMessage `json:"content"`
		} `json:"attachments"`
	}
	strict := func(data []byte, into any) bool {
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		return decoder.Decode(into) == nil
	}
	if !strict(body, &document) || document.Type != "message" || len(document.Attachments) != 1 || document.Attachments[0].ContentType != "application/vnd.microsoft.card.adaptive" {
		return message, "is not a message with one Adaptive Card"
	}
	var content struct {
		Schema  string            `json:"$schema"`
		Type    string            `json:"type"`
		Version string            `json:"version"`
		MSTeams map[string]string `json:"msteams"`
		Body    []struct {
			Type    string `json:"type"`
			Spacing string `json:"spacing"`
			Inlines []struct {
				Type   string `json:"type"`
				Text   string `json:"text"`
				Weight string `json:"weight"`
				Size   string `json:"size"`
				Color  string `json:"color"`
			} `json:"inlines"`
		} `json:"body"`
	}
	if !strict(document.Attachments[0].Content, &content) || content.Type != "AdaptiveCard" || content.Version != "1.4" || len(content.Body) == 0 {
		return message, "has a card that is not one of version 1.4 with a body"
	}
	for _, block := range content.Body {
		if block.Type != "RichTextBlock" || len(block.Inlines) != 1 || block.Inlines[0].Type != "TextRun" || block.Inlines[0].Text == "" {
			return message, "has an unknown element"
		}
		message.lines = append(message.lines, block.Inlines[0].Text)
	}
	if message.size = len(body); message.size*118/100 > maxExpanded {
		return message, fmt.Sprintf("has %d bytes", message.size)
	}
	message.card, message.color = document.Attachments[0].Content, content.Body[0].Inlines[0].Color
	return message, ""
}

// messages returns the messages so far.
func (f *flow) messages() []posted {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return append([]posted(nil), f.posted...)
}
