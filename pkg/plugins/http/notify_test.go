package http

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

var oneFailed = cleanup.Notification{
	Name: "ops", Key: "ops-1", ID: "ops-1/2-abc", Reference: "17", Open: true, Nodes: 1, Title: `"worker-1" failed`, Text: "failed:\nworker-1",
	Events: []cleanup.NotificationEvent{{Kind: cleanup.NotifyFailed, Nodes: 1, New: 1, Names: []string{"worker-1"}, Message: "full"}},
}

func TestNotify(t *testing.T) {
	var path, body, key string
	status, answer := http.StatusOK, `{"id": 17}`
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		data, err := io.ReadAll(request.Body)
		if err != nil {
			t.Error(err)
		}
		path, body, key = request.URL.EscapedPath(), string(data), request.Header.Get("Idempotency-Key")
		writer.Header().Set("Retry-After", "7")
		writer.WriteHeader(status)
		fmt.Fprint(writer, answer)
	}))
	defer server.Close()
	notify := func(options string) (string, error) {
		notifier, faults := Descriptor(nil, nil).BindNotifier([]byte(strings.ReplaceAll(options, "URL", server.URL)))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		one := oneFailed
		one.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
		return notifier.Notify(t.Context(), one)
	}

	reference, err := notify(`{"url": "URL"}`)
	var sent struct {
		Kind string `json:"kind"`
		cleanup.Notification
	}
	if invalid := json.Unmarshal([]byte(body), &sent); invalid != nil || reference != "" || err != nil || key != oneFailed.ID || sent.Kind != "NodeCleanupNotification" ||
		sent.Key != "ops-1" || sent.Events[0].Names[0] != "worker-1" || sent.Text != oneFailed.Text {
		t.Errorf("sent %s with key %s, %q, %v", body, key, reference, err)
	}

	reference, err = notify(`{"url": "URL/m/${notification.reference:-new}/${notification.id}", "body": "{\"text\": \"${notification.text}\", \"title\": \"${notification.title}\", \"is\": \"${notification.status}\"}", "outputs": {"reference": "{.id}"}}`)
	if want := `{"text": "failed:\nworker-1", "title": "\"worker-1\" failed", "is": "Open"}`; body != want || reference != "17" || err != nil || path != "/m/17/ops-1%2F2-abc" {
		t.Errorf("sent %s to %s, %q, %v", body, path, reference, err)
	}

	answer = "no JSON"
	if reference, err = notify(`{"url": "URL", "outputs": {"reference": "{.id}"}}`); reference != "" || err != nil {
		t.Errorf("without JSON: %q, %v", reference, err)
	}
	status = http.StatusTooManyRequests
	_, err = notify(`{"url": "URL"}`)
	if after, _ := cleanup.RetryDelay(err); after != 7*time.Second || cleanup.IsPermanent(err) {
		t.Errorf("429: %v", err)
	}
	status = http.StatusBadRequest
	if _, err = notify(`{"url": "URL"}`); !cleanup.IsPermanent(err) {
		t.Errorf("400: %v", err)
	}
}

func TestNotifierFaults(t *testing.T) {
	_, faults := Descriptor(nil, nil).BindNotifier([]byte(`{"url": "https://${notification.name}.example.com", "outputs": {"number": "{.id}"}}`))
	if got := fmt.Sprint(faults); !strings.Contains(got, "url: the host must not contain ${notification.name}") || !strings.Contains(got, "outputs.number: a notification can have the output reference only") {
		t.Errorf("the faults are %s", got)
	}
}
