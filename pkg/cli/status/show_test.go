package status

import (
	"bytes"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer/printertest"
)

func changes() []*printer.Status {
	var all []*printer.Status
	for i, cleanups := range [][]printer.CleanupRow{
		{},
		{{Node: "a", State: "Running", Step: "1/2 drain", Reason: "3 pods remaining"}},
		{{Node: "a", State: "Running", Step: "1/2 drain", Reason: "3 pods remaining"}},
		{{Node: "a", State: "Failed", Step: "1/2 drain", Reason: "no tries left", Stuck: true}},
		{},
		{},
	} {
		view := printer.NewStatus(time.Date(2026, 11, 23, 3, 0, i, 0, time.UTC))
		view.Agent.Health, view.Admission.Health, view.Config.Health, view.Cleanups = printer.Healthy, printer.Healthy, printer.Healthy, cleanups
		if i == 2 || i == 3 {
			view.Pause = &printer.Pause{Cause: printer.Paused, By: "alice", Since: &metav1.Time{Time: time.Date(2026, 11, 23, 2, 48, 0, 0, time.UTC)}, Reason: "INC-7"}
		}
		if i == 1 || i == 2 {
			view.Bypasses = []printer.Bypass{{Node: "b", By: "alice", Reason: "INC-8"}}
		}
		all = append(all, view)
	}
	return all
}

func TestLinesReportOnlyChanges(t *testing.T) {
	var out bytes.Buffer
	show := lines(&command.Environment{IOStreams: genericiooptions.IOStreams{Out: &out}})
	for _, view := range changes() {
		if err := show(view); err != nil {
			t.Fatal(err)
		}
	}
	printertest.Golden(t, "lines.txt", out.String())
}

func TestScreenIsRedrawn(t *testing.T) {
	var out bytes.Buffer
	show := screen(&command.Environment{IOStreams: genericiooptions.IOStreams{Out: &out}})
	for _, view := range changes() {
		if err := show(view); err != nil {
			t.Fatal(err)
		}
	}
	counted := changes()[1]
	counted.Cleanups[0].Counts = &api.Counts{Done: 1, Total: 4}
	if err := show(counted); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "██░░░░░░░░ 1/4; 3 pods remaining") {
		t.Errorf("there is no progress bar in %q", out.String())
	}
	if pictures := strings.Count(out.String(), clear); pictures != len(changes())+1 {
		t.Errorf("%d pictures, want %d", pictures, len(changes())+1)
	}
}
