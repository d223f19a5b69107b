package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
)

// logged returns the options of an agent whose log and metrics can be read.
func (f *fixture) logged() (agent.Options, *output) {
	f.Helper()
	log := &output{}
	options := f.options()
	options.Log = slog.New(slog.NewTextHandler(log, nil))
	options.MetricsListen = fmt.Sprintf("127.0.0.1:%d", freePort(f.T))
	return options, log
}

func (f *fixture) awaitLog(log *output, text string) {
	f.Helper()
	f.eventually(fmt.Sprintf("the log says %q", text), func(context.Context) (bool, error) { return strings.Contains(log.String(), text), nil })
}

// metric returns the line of a metric, by how it begins.
func (f *fixture) metric(address, begins string) string {
	f.Helper()
	_, body, err := f.get("http://" + address + "/metrics")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, begins) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
