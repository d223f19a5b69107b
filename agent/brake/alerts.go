package brake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
)

const (
	// alertsPeriod is the time between two reads of the alerts, alertsTimeout the timeout of one.
	alertsPeriod  = 10 * time.Second
	alertsTimeout = 5 * time.Second
	// maxResponse limits the size of a response, in bytes.
	maxResponse = 16 << 20
)

// Prometheus reads which alerts fire. What it answers is not trusted: of a text in it, an error has
// a short part at most, and no secret.
type Prometheus struct {
	// Client follows no redirects: the token is for the configured server.
	Client  *http.Client
	Secrets cleanup.Secrets
	// Redact removes secrets from a text.
	Redact func(string) string
}

// maxProblem is how much is kept of an error, in bytes. It is stored in the status.
const maxProblem = 300

// firing returns which of the configured alerts fire, sorted, each once.
func (p Prometheus) firing(ctx context.Context, alerts config.Alerts) ([]string, error) {
	firing, err := p.read(ctx, alerts)
	if err == nil {
		return firing, nil
	}
	return nil, errors.New(truncate.Bytes(strings.ToValidUTF8(p.Redact(err.Error()), ""), maxProblem))
}

func (p Prometheus) read(ctx context.Context, alerts config.Alerts) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, alertsTimeout)
	defer cancel()
	url := strings.TrimSuffix(alerts.URL, "/") + "/api/v1/alerts"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("reading alerts: %w", err)
	}
	if !alerts.BearerToken.Empty() {
		token, err := alerts.BearerToken.Resolve(ctx, p.Secrets)
		if err != nil {
			return nil, fmt.Errorf("reading the token for %s: %w", url, err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	}
	client := *p.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading alerts: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading alerts from %s: %s", url, response.Status)
	}
	firing, err := decodeAlerts(io.LimitReader(response.Body, maxResponse), alerts.Names)
	if err != nil {
		return nil, fmt.Errorf("reading alerts from %s: %w", url, err)
	}
	return firing, nil
}

// decodeAlerts returns those of the named alerts that fire, sorted, each once. It decodes one alert
// after the other: all of them at once would take many times the memory of the answer.
func decodeAlerts(answer io.Reader, names []string) ([]string, error) {
	decoder := json.NewDecoder(answer)
	status, firing := "", []string{}
	alert := func() error {
		var one struct {
			Labels map[string]string `json:"labels"`
			State  string            `json:"state"`
		}
		err := decoder.Decode(&one)
		if name := one.Labels["alertname"]; err == nil && one.State == "firing" && slices.Contains(names, name) && !slices.Contains(firing, name) {
			firing = append(firing, name)
		}
		return err
	}
	err := object(decoder, map[string]func() error{
		"status": func() error { return decoder.Decode(&status) },
		"data": func() error {
			return object(decoder, map[string]func() error{"alerts": func() error { return array(decoder, alert) }})
		},
	})
	if err != nil {
		return nil, err
	}
	if status != "success" {
		return nil, fmt.Errorf("the answer has status %q", status)
	}
	slices.Sort(firing)
	return firing, nil
}

// object reads a JSON object. It calls the function of each field, which reads the value, and skips
// the other fields. Null is an empty object.
func object(decoder *json.Decoder, fields map[string]func() error) error {
	return inside(decoder, '{', func() error {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		if read, known := fields[fmt.Sprint(name)]; known {
			return read()
		}
		return decoder.Decode(&json.RawMessage{})
	})
}

// array reads a JSON array and calls each for every element, which reads it. Null is an empty array.
func array(decoder *json.Decoder, each func() error) error { return inside(decoder, '[', each) }

func inside(decoder *json.Decoder, begins json.Delim, next func() error) error {
	begin, err := decoder.Token()
	if err != nil || begin == nil {
		return err
	}
	if begin != begins {
		return fmt.Errorf("the answer has another form, at byte %d", decoder.InputOffset())
	}
	for decoder.More() {
		if err := next(); err != nil {
			return err
		}
	}
	_, err = decoder.Token() // The end.
	return err
}

// followAlerts reads the alerts of the config until ctx ends.
func (b *Brake) followAlerts(ctx context.Context) {
	ticker := b.Clock.NewTicker(alertsPeriod)
	defer ticker.Stop()
	for {
		if alerts := b.Config().Brake.Alerts; len(alerts.Names) > 0 {
			firing, err := b.Prometheus.firing(ctx, alerts)
			if ctx.Err() != nil {
				return
			}
			b.setAlerts(firing, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// setAlerts stores which alerts fire. After an error, the last result stays.
func (b *Brake) setAlerts(firing []string, err error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	defer b.wake()
	problem := ""
	if err != nil {
		problem = err.Error()
	} else {
		b.state.firing, b.state.alertsRead = firing, true
	}
	if problem != b.state.brake.AlertsError {
		b.state.brake.AlertsError = problem
		if err != nil {
			b.Log.Warn("cannot read the alerts of the brake, retrying", "err", err)
		}
	}
}
