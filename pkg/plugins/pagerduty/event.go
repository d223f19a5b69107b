package pagerduty

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// Limits of the Events API, in characters:
// https://developer.pagerduty.com/docs/events-api-v2/trigger-events/.
const (
	maxSummary  = 1024
	maxDedupKey = 255
	// keyLength is the length of an integration key.
	keyLength = 32
)

// throttled is the wait after an answer 429 without Retry-After. PagerDuty asks for "a backoff of a few minutes":
// https://developer.pagerduty.com/docs/events-api-v2/overview/#api-limits.
const throttled = 2 * time.Minute

// event is a request to the Events API. A change event has neither an action nor a key.
type event struct {
	RoutingKey string   `json:"routing_key"`
	Action     string   `json:"event_action,omitempty"`
	DedupKey   string   `json:"dedup_key,omitempty"`
	Client     string   `json:"client,omitempty"`
	Payload    *payload `json:"payload,omitempty"`
}

// payload describes the event. A change event has no severity.
type payload struct {
	Summary   string         `json:"summary"`
	Source    string         `json:"source"`
	Severity  string         `json:"severity,omitempty"`
	Timestamp string         `json:"timestamp,omitempty"`
	Details   map[string]any `json:"custom_details,omitempty"`
}

// newPayload returns the payload of an event at a time. PagerDuty names no limit of the source. It is cut, too, because an
// event has at most 512 KB, and an annotation of a Node can be long.
func newPayload(summary, source string, at time.Time, details map[string]any) *payload {
	return &payload{
		Summary: cut(httpclient.OneLine(summary), maxSummary), Source: cut(httpclient.OneLine(source), maxSummary),
		Timestamp: at.UTC().Format(time.RFC3339), Details: details,
	}
}

// change sends a change event. PagerDuty does not deduplicate change events.
func (p *plugin) change(ctx context.Context, payload *payload) error {
	return p.send(ctx, "v2/change/enqueue", event{Payload: payload})
}

// trigger opens the alert with the key, or adds an entry to its log if it is open.
func (p *plugin) trigger(ctx context.Context, key string, payload *payload) error {
	payload.Severity = p.Severity
	return p.send(ctx, "v2/enqueue", event{Action: trigger, DedupKey: key, Client: "nodecleanup", Payload: payload})
}

// resolve resolves the alert with the key. PagerDuty drops the event if no alert with the key is open.
func (p *plugin) resolve(ctx context.Context, key string) error {
	return p.send(ctx, "v2/enqueue", event{Action: resolve, DedupKey: key})
}

// send sends an event. PagerDuty processes it after it has answered.
func (p *plugin) send(ctx context.Context, path string, document event) error {
	if length := utf8.RuneCountInString(document.DedupKey); length > maxDedupKey || document.Action != "" && length == 0 {
		return cleanup.Permanent(fmt.Errorf("the dedupKey has %d characters, but must have 1 to %d", length, maxDedupKey))
	}
	key, err := p.key(ctx)
	if err != nil {
		return err
	}
	document.RoutingKey = key
	api := &httpclient.API{
		System: "PagerDuty", URL: p.URL, Client: p.client, Message: message,
		// The key is in the body, so there is no header. No error may show it.
		Credentials: func(context.Context) (http.Header, []string, error) { return nil, []string{key}, nil },
	}
	// The answer has nothing of interest, but it must be JSON: a proxy could have answered.
	var answer struct{}
	err = api.Call(ctx, http.MethodPost, path, document, &answer)
	if _, given := cleanup.RetryDelay(err); !given && httpclient.StatusCode(err) == http.StatusTooManyRequests {
		return cleanup.RetryAfter(err, throttled)
	}
	return err
}

// key reads the integration key.
func (p *plugin) key(ctx context.Context) (string, error) {
	key, err := httpclient.Resolve(ctx, p.secrets, p.RoutingKey)
	if err != nil {
		return "", fmt.Errorf("reading the routing key: %w", err)
	}
	if len(key) != keyLength {
		return "", fmt.Errorf("reading the routing key: it has %d characters, but an integration key has %d", len(key), keyLength)
	}
	return key, nil
}

// message returns the text of an answer that is an error, such as "Event object is invalid: 'source' is missing", or "".
func message(answer []byte) string {
	var document struct {
		Message string   `json:"message"`
		Errors  []string `json:"errors"`
	}
	if json.Unmarshal(answer, &document) != nil || document.Message == "" {
		return ""
	}
	return strings.Join(append([]string{document.Message}, document.Errors...), ": ")
}

// cut returns at most limit characters of a text, with "…" at the end if there are more.
func cut(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + "…"
}
