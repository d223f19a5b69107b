package pagerduty

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func TestFaultsOfOptions(t *testing.T) {
	const both, step, notification = "both", "step", "notification"
	descriptor := Descriptor(&http.Client{}, plugintest.Secrets{})
	for _, test := range []struct{ where, options, says string }{
		{both, ``, "routingKey: is required"},
		{both, `"routingKey":"` + routingKey + `"`, "routingKey: must be in a Secret"},
		{both, byKey + `,"url":"ftp://events.pagerduty.com"`, "url: "},
		{both, byKey + `,"url":"https://events.pagerduty.com/v2/enqueue"`, "must not contain /v2"},
		{both, byKey + `,"url":"https://me:secret@events.pagerduty.com"`, "must have no user"},
		{both, byKey + `,"url":"https://events.pagerduty.com?a=b"`, "must have no user, query"},
		{both, byKey + `,"summary":""`, "summary: must not be empty"},
		{both, byKey + `,"summary":"${node.nam}"`, "summary: "},
		{both, byKey + `,"source":""`, "source: must not be empty"},
		{both, byKey + `,"severity":"high"`, `severity: must be one of critical, error, warning, info, not "high"`},
		{step, byKey + `,"event":"acknowledge"`, `event: must be change, trigger or resolve, not "acknowledge"`},
		{step, byKey + `,"event":"trigger","dedupKey":""`, "dedupKey: must not be empty"},
		{notification, byKey + `,"event":"trigger"`, "event: applies only to steps"},
		{notification, byKey + `,"dedupKey":"x"`, "dedupKey: applies only to steps"},
	} {
		if test.where != notification {
			_, faults := descriptor.Bind([]byte("{" + test.options + "}"))
			if text := fmt.Sprint(faults); len(faults) != 1 || !strings.Contains(text, test.says) || strings.Contains(text, routingKey) {
				t.Errorf("step %s: %s", test.options, text)
			}
		}
		if test.where != step {
			_, faults := descriptor.BindNotifier([]byte("{" + test.options + "}"))
			if text := fmt.Sprint(faults); len(faults) != 1 || !strings.Contains(text, test.says) || strings.Contains(text, routingKey) {
				t.Errorf("notification %s: %s", test.options, text)
			}
		}
	}
}

func TestOptionsWithoutFaults(t *testing.T) {
	descriptor := Descriptor(&http.Client{}, plugintest.Secrets{})
	for _, options := range []string{``, `,"url":"http://proxy:8080/pagerduty/"`, `,"severity":"info","source":"prod"`} {
		if _, faults := descriptor.Bind([]byte("{" + byKey + options + "}")); len(faults) > 0 {
			t.Errorf("step %s: %v", options, faults)
		}
		if _, faults := descriptor.BindNotifier([]byte("{" + byKey + options + "}")); len(faults) > 0 {
			t.Errorf("notification %s: %v", options, faults)
		}
	}
}
