package logger

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestNotify(t *testing.T) {
	for options, want := range map[string]string{
		"": `level=INFO msg="Cleanup of 2 nodes" key=k status=Open`,
		`{"level": "warn", "message": "${notification.nodes} nodes"}`: `level=WARN msg="2 nodes" key=k status=Open`,
	} {
		notifier, faults := Descriptor().BindNotifier([]byte(options))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		var log bytes.Buffer
		reference, err := notifier.Notify(t.Context(), cleanup.Notification{Key: "k", Nodes: 2, Open: true, Title: "Cleanup of 2 nodes", Log: slog.New(slog.NewTextHandler(&log, nil))})
		if reference != "" || err != nil || !strings.Contains(log.String(), want) {
			t.Errorf("%s: %q, %v, logged %s", options, reference, err, log.String())
		}
	}
}
