package brake

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

const (
	// alertsPeriod is the time between two reads of the alerts, alertsTimeout that of one.
	alertsPeriod  = 10 * time.Second
	alertsTimeout = 5 * time.Second
	// maxAlerts is how much of an answer is read, in bytes.
	maxAlerts = 16 << 20
)

// Prometheus reads which alerts fire.
type Prometheus struct {
	Client  *http.Client
	Secrets cleanup.Secrets
}

// firing returns which of the configured alerts fire, sorted, each once.
func (p Prometheus) firing(ctx context.Context, alerts config.Alerts) ([]string, error) {
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
	response, err := p.Client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading alerts: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading alerts from %s: %s", url, response.Status)
	}
	var answer struct {
		Status string `json:"status"`
		Data   struct {
			Alerts []struct {
				Labels map[string]string `json:"labels"`
				State  string            `json:"state"`
			} `json:"alerts"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAlerts)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("reading alerts from %s: %w", url, err)
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("reading alerts from %s: the answer has status %q", url, answer.Status)
	}
	firing := []string{}
	for _, alert := range answer.Data.Alerts {
		if name := alert.Labels["alertname"]; alert.State == "firing" && slices.Contains(alerts.Names, name) {
			firing = append(firing, name)
		}
	}
	slices.Sort(firing)
	return slices.Compact(firing), nil
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

// setAlerts takes over which alerts fire. After an error it is what was read last.
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
			b.Log.Warn("the alerts of the brake cannot be read, trying again", "err", err)
		}
	}
}
