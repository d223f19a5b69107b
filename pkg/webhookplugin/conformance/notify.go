package conformance

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// notify sends a test message twice with the same ID and, if the service returns a reference, replaces it.
func notify(ctx context.Context, s *suite) finding {
	if !s.discovery.Can(webhookplugin.AbilityNotify) {
		return skipped("the service does not have this ability")
	}
	key := "conformance-" + rand.Text()
	notification := webhookplugin.Notification{
		Name: "conformance", Key: key, ID: key + "/1", Began: s.Now().UTC(), Nodes: 1, Events: []webhookplugin.NotificationEvent{{Kind: "Started", Nodes: 1, New: 1, Names: []string{s.NodeName}}},
		Title: "Conformance test: ignore this message", Text: "Conformance test: ignore this message\nNo node is cleaned up.", Params: s.Params,
	}
	send := func() (webhookplugin.NotifyAnswer, error) {
		body, err := json.Marshal(notification)
		if err != nil {
			return webhookplugin.NotifyAnswer{}, err
		}
		received, err := s.send(ctx, http.MethodPost, webhookplugin.NotifyPath, body, func(sent *http.Request) { sent.Header.Set("Idempotency-Key", notification.ID) })
		if err != nil {
			return webhookplugin.NotifyAnswer{}, err
		}
		return decode[webhookplugin.NotifyAnswer]("POST "+webhookplugin.NotifyPath, received)
	}
	first, err := send()
	if err != nil {
		return failed(`answer with {} or {"reference":"…"}`, "%v", err)
	}
	again, err := send()
	switch {
	case err != nil:
		return failed("answer the same id with the same answer", "the same id again: %v", err)
	case again.Reference != first.Reference:
		return failed("store what was sent by id, and answer the same id with the same reference", "the same id again has the reference %q, and the first time %q: was the message sent twice?", again.Reference, first.Reference)
	}
	notification.ID, notification.Reference, notification.Final = key+"/2", first.Reference, true
	if _, err := send(); err != nil {
		return failed("replace the message with the reference", "the final message: %v", err)
	}
	if first.Reference == "" {
		return passed("messages cannot be replaced")
	}
	return passed("messages can be replaced")
}
