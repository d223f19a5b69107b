package slack

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const (
	token   = "xoxb-canary-81"
	hook    = "/services/T1/B1/canary-82"
	channel = "C0123456789"
)

// workspace is a Slack that refuses what Slack refuses. The rules are those of
// https://docs.slack.dev/reference/methods/chat.postMessage, .../chat.update,
// https://docs.slack.dev/reference/block-kit/blocks/section-block and
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.
type workspace struct {
	t      *testing.T
	server *httptest.Server
	mutex  sync.Mutex
	// posted are the messages by their ts, in this order.
	order  []string
	posted map[string]posted
	plugintest.Override
}

// posted is one message.
type posted struct {
	Channel string  `json:"channel"`
	Text    string  `json:"text"`
	TS      string  `json:"ts"`
	Thread  string  `json:"thread_ts"`
	Blocks  []block `json:"blocks"`
	updates int
}

type block struct {
	Type string `json:"type"`
	Text struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		Verbatim bool   `json:"verbatim"`
	} `json:"text"`
}

func newWorkspace(t *testing.T) *workspace {
	w := &workspace{t: t, posted: map[string]posted{}}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	return w
}

// RoundTrip sends what is meant for Slack to the workspace.
func (w *workspace) RoundTrip(request *http.Request) (*http.Response, error) {
	if host := request.URL.Host; host != "slack.com" && host != "hooks.slack.com" || request.URL.Scheme != "https" {
		return nil, fmt.Errorf("the request is for %s", request.URL)
	}
	to, err := url.Parse(w.server.URL)
	if err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.URL.Scheme, request.URL.Host = to.Scheme, to.Host
	return http.DefaultTransport.RoundTrip(request)
}

func (w *workspace) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	if w.Overrides(writer, request) {
		return
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	data, err := io.ReadAll(request.Body)
	if err != nil {
		w.t.Error(err)
	}
	var message posted
	if request.Method != http.MethodPost || !strings.HasPrefix(request.Header.Get("Content-Type"), "application/json") || json.Unmarshal(data, &message) != nil {
		w.t.Errorf("%s %s with %s: %s", request.Method, request.URL.Path, request.Header.Get("Content-Type"), data)
	}
	if strings.HasPrefix(request.URL.Path, "/services/") {
		w.hooked(writer, request.URL.Path, message)
		return
	}
	code := w.method(strings.TrimPrefix(request.URL.Path, "/api/"), request.Header.Get("Authorization"), &message)
	if err := json.NewEncoder(writer).Encode(map[string]any{"ok": code == "", "error": code, "channel": message.Channel, "ts": message.TS}); err != nil {
		w.t.Error(err)
	}
}

func (w *workspace) hooked(writer http.ResponseWriter, path string, message posted) {
	switch problem := wrong(message); {
	case path != hook:
		http.Error(writer, "invalid_token", http.StatusForbidden)
	case problem != "":
		http.Error(writer, "invalid_payload", http.StatusBadRequest)
	default:
		w.add(message)
		fmt.Fprint(writer, "ok")
	}
}

func (w *workspace) method(method, authorization string, message *posted) (code string) {
	switch {
	case authorization != "Bearer "+token:
		return "invalid_auth"
	case method == "auth.test":
		return ""
	case message.Channel != channel:
		return "channel_not_found"
	case wrong(*message) != "":
		return wrong(*message)
	}
	switch method {
	case "chat.postMessage":
		if _, exists := w.posted[message.Thread]; message.Thread != "" && !exists {
			return "thread_not_found"
		}
		message.TS = w.add(*message)
	case "chat.update":
		earlier, exists := w.posted[message.TS]
		if !exists {
			return "message_not_found"
		}
		message.updates = earlier.updates + 1
		w.posted[message.TS] = *message
	default:
		return "unknown_method"
	}
	return ""
}

func (w *workspace) add(message posted) (ts string) {
	message.TS = fmt.Sprintf("1700000000.%06d", len(w.order)+1)
	w.order = append(w.order, message.TS)
	w.posted[message.TS] = message
	return message.TS
}

// wrong returns why Slack refuses a message.
func wrong(message posted) string {
	total := 0
	for _, block := range message.Blocks {
		length := utf8.RuneCountInString(block.Text.Text)
		total += length
		if block.Type != "section" || block.Text.Type != "mrkdwn" || length == 0 || length > 3000 {
			return "invalid_blocks"
		}
		if raw := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(block.Text.Text); strings.ContainsAny(raw, "<>&") {
			return "unescaped" // Slack would take it for a link or a mention.
		}
	}
	switch {
	case message.Text == "" && len(message.Blocks) == 0:
		return "no_text"
	case len(message.Blocks) > 50:
		return "invalid_blocks"
	case total > 13_200:
		return "msg_blocks_too_long"
	}
	return ""
}

// messages returns the messages in the order in which they were posted.
func (w *workspace) messages() []posted {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	var all []posted
	for _, ts := range w.order {
		all = append(all, w.posted[ts])
	}
	return all
}
