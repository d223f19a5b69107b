package checker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// kinds are the etcd keys of the kinds that the checker reads.
var kinds = [][]byte{
	[]byte("/registry/minions/"), []byte("/registry/pods/"), []byte("/registry/volumeattachments/"), []byte("/registry/configmaps/"),
}

// Watch calls apply with every event from the first revision on, until ctx is done or the stream
// breaks. It asks etcd itself, by its JSON gateway: one stream of all kinds in one order, which
// neither skips a version nor ends when an API server does.
func Watch(ctx context.Context, etcd string, apply func(Event)) error {
	wanted, err := json.Marshal(map[string]any{"create_request": map[string]any{
		"key": []byte("/registry/"), "range_end": []byte("/registry0"), "start_revision": 1, "prev_kv": true,
	}})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, etcd+"/v3/watch", bytes.NewReader(wanted))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("watching etcd: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("watching etcd: %s", response.Status)
	}
	return fmt.Errorf("watching etcd: %w", read(response.Body, time.Now, apply))
}

// read calls apply with the events of a stream, until it ends: io.EOF.
func read(stream io.Reader, now func() time.Time, apply func(Event)) error {
	decoder := json.NewDecoder(stream)
	for {
		var message message
		if err := decoder.Decode(&message); err != nil {
			return err
		}
		if message.Error != nil || message.Result.Canceled {
			return fmt.Errorf("the watch has ended: %s %s", message.Error, message.Result.CancelReason)
		}
		events, err := message.events(now())
		if err != nil {
			return err
		}
		for _, event := range events {
			apply(event)
		}
	}
}

// message is one message of etcd's watch.
type message struct {
	Result struct {
		Canceled     bool   `json:"canceled"`
		CancelReason string `json:"cancel_reason"`
		Events       []struct {
			Type string   `json:"type"` // empty or PUT; DELETE
			KV   keyValue `json:"kv"`
			Prev keyValue `json:"prev_kv"`
		} `json:"events"`
	} `json:"result"`
	Error json.RawMessage `json:"error"`
}

type keyValue struct {
	Key         []byte `json:"key"`
	Value       []byte `json:"value"`
	ModRevision int64  `json:"mod_revision,string"`
}

// events returns the events of the kinds that a checker reads.
func (m message) events(at time.Time) ([]Event, error) {
	var events []Event
	for _, event := range m.Result.Events {
		if !known(event.KV.Key) {
			continue
		}
		deleted, value := event.Type == "DELETE", event.KV.Value
		if deleted {
			value = event.Prev.Value
		}
		object, err := decode(value)
		if err != nil {
			return nil, fmt.Errorf("decoding %s at revision %d: %w", event.KV.Key, event.KV.ModRevision, err)
		}
		events = append(events, Event{Revision: event.KV.ModRevision, At: at, Object: object, Deleted: deleted})
	}
	return events, nil
}

func known(key []byte) bool {
	for _, kind := range kinds {
		if bytes.HasPrefix(key, kind) {
			return true
		}
	}
	return false
}

func decode(value []byte) (runtime.Object, error) {
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(value, nil, nil)
	return object, err
}
