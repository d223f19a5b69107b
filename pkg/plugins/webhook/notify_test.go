package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// board is a service that replaces messages.
type board struct {
	inventory
	received []webhookplugin.Notification
	fault    error
	answer   string
}

func (b *board) Notify(_ context.Context, notification *webhookplugin.Notification) (string, error) {
	b.received = append(b.received, *notification)
	return b.answer, b.fault
}

func TestNotify(t *testing.T) {
	service := &board{answer: "17"}
	server := httptest.NewServer(webhookplugin.Handler(service, webhookplugin.Options{Token: canary}))
	defer server.Close()
	descriptor := Descriptor(nil, plugintest.Secrets{"s/token": canary}, clock.RealClock{})
	plugin, faults := descriptor.BindNotifier(fmt.Appendf(nil, `{"url": %q, "token": {"secretKeyRef": {"name": "s", "key": "token"}}, "params": {"team": "a"}}`, server.URL))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	one := cleanup.Notification{
		Name: "ops", Key: "k", ID: "k/1", Reference: "16", Open: true, Nodes: 2, Title: "title", Text: "title\ntext", DeletedBy: "ann",
		Events: []cleanup.NotificationEvent{{Kind: cleanup.NotifyFailed, Nodes: 1, New: 1, Names: []string{"worker"}, Message: "full"}},
		Log:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	reference, err := plugin.Notify(t.Context(), one)
	got := service.received[0]
	if reference != "17" || err != nil || got.ID != "k/1" || got.Reference != "16" || !got.Open || got.Events[0].Kind != "Failed" || got.Events[0].Names[0] != "worker" || got.Text != one.Text || string(got.Params) != `{"team":"a"}` {
		t.Errorf("%q, %v, received %+v", reference, err, got)
	}
	if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
		t.Errorf("the service is unhealthy: %v", err)
	}
	service.answer = "of " + canary
	if reference, err := plugin.Notify(t.Context(), one); reference != "" || err != nil {
		t.Errorf("a reference with a secret: %q, %v", reference, err)
	}
	service.fault = errors.New("no room for " + canary)
	if _, err := plugin.Notify(t.Context(), one); err == nil || cleanup.IsPermanent(err) || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), "no room for [secret]") {
		t.Errorf("the error is %v", err)
	}
}

// A service without the ability is unhealthy as a notification, not as a step.
func TestNotifyNeedsTheAbility(t *testing.T) {
	server := httptest.NewServer(webhookplugin.Handler(&inventory{}, webhookplugin.Options{}))
	defer server.Close()
	plugin, faults := Descriptor(nil, nil, clock.RealClock{}).BindNotifier(fmt.Appendf(nil, `{"url": %q}`, server.URL))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "does not have the ability notify") {
		t.Errorf("the error is %v", err)
	}
	if _, err := plugin.Notify(t.Context(), cleanup.Notification{Key: "k", ID: "k/1"}); !cleanup.IsPermanent(err) {
		t.Errorf("the error is %v", err)
	}
}
