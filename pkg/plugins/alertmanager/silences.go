package alertmanager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// silence is a silence of the API:
// https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml.
type silence struct {
	ID        string    `json:"id,omitempty"`
	Matchers  []matcher `json:"matchers"`
	StartsAt  time.Time `json:"startsAt"`
	EndsAt    time.Time `json:"endsAt"`
	CreatedBy string    `json:"createdBy"`
	Comment   string    `json:"comment"`
	// Status is only in answers.
	Status *struct {
		State string `json:"state"`
	} `json:"status,omitempty"`
}

// expired reports whether the silence has ended. Alertmanager keeps it for some days.
func (s silence) expired() bool { return s.Status != nil && s.Status.State == "expired" }

// list returns the silences that have at least these matchers, also expired ones.
func (p *plugin) list(ctx context.Context, matchers ...matcher) ([]silence, error) {
	query := url.Values{}
	for _, m := range matchers {
		query.Add("filter", m.String())
	}
	var found []silence
	err := p.api.Call(ctx, http.MethodGet, "api/v2/silences?"+query.Encode(), nil, &found)
	return found, err
}

// get returns a silence, or nil if there is none with this ID. An ID that is not a UUID is answered with 422.
func (p *plugin) get(ctx context.Context, id string) (*silence, error) {
	var found silence
	err := p.api.Call(ctx, http.MethodGet, "api/v2/silence/"+url.PathEscape(id), nil, &found)
	switch httpclient.StatusCode(err) {
	case http.StatusNotFound, http.StatusUnprocessableEntity:
		return nil, nil
	}
	return &found, err
}

// set creates a silence, or updates that with its ID, and returns its ID. Without an ID, each request creates a silence.
// Alertmanager updates a silence in place only if the matchers and the start are the same. Otherwise, it expires the
// silence and creates another one. It answers 404 for an ID that it does not know.
func (p *plugin) set(ctx context.Context, s silence) (id string, err error) {
	s.Status = nil
	var answer struct {
		SilenceID string `json:"silenceID"`
	}
	err = p.api.Call(ctx, http.MethodPost, "api/v2/silences", s, &answer)
	if err == nil && answer.SilenceID == "" {
		err = errors.New("Alertmanager has not returned the ID of the silence; a proxy may have answered")
	}
	return answer.SilenceID, err
}

// expire ends a silence now. An expired one can be expired again.
func (p *plugin) expire(ctx context.Context, id string) error {
	err := p.api.Call(ctx, http.MethodDelete, "api/v2/silence/"+url.PathEscape(id), nil, nil)
	switch httpclient.StatusCode(err) {
	case http.StatusNotFound: // It does not exist, since Alertmanager 0.27.
		return nil
	case http.StatusInternalServerError: // Earlier versions answer 500 if it does not exist.
		if found, unknown := p.get(ctx, id); unknown == nil && found == nil {
			return nil
		}
	}
	return err
}

// message returns the text of an error, or "": a JSON string, or an object if a parameter is not valid.
func message(answer []byte) string {
	var text string
	var object struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(answer, &text) != nil && json.Unmarshal(answer, &object) != nil {
		return ""
	}
	return cmp.Or(text, object.Message)
}
