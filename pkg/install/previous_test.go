package install

import (
	"maps"
	"slices"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

func TestInstallPreservesPreviousOptions(t *testing.T) {
	before := PreviousOptions{
		Version: "v0.0.0-alpha", Image: "registry.local:5000/agent:v0.0.0-alpha", Admission: AdmissionPolicy,
		Set: map[string]string{"guard.failurePolicy": "Fail", "failurePolicy": "Fail", "priorityClassName": "mine"},
	}
	completed, kept := before.Complete(Options{Set: map[string]string{"failurePolicy": "Ignore"}})
	image := "registry.local:5000/agent:" + version.Version
	if want := map[string]string{"guard.failurePolicy": "Fail", "failurePolicy": "Ignore", "priorityClassName": "mine"}; completed.Image != image || completed.Admission != AdmissionPolicy || !maps.Equal(completed.Set, want) {
		t.Errorf("completed to %+v", completed)
	}
	if want := []string{"--image " + image, "--admission policy", "--set guard.failurePolicy=Fail", "--set priorityClassName=mine"}; !slices.Equal(kept, want) {
		t.Errorf("kept %q", kept)
	}
	before.Image = "registry.local/agent@sha256:0"
	if completed, _ := before.Complete(Options{}); completed.Image != before.Image {
		t.Errorf("the image is %s", completed.Image)
	}
	if completed, _ := before.Complete(Options{Image: "other"}); completed.Image != "other" {
		t.Errorf("the image is %s", completed.Image)
	}
	outside, kept := before.Complete(Options{AgentURL: "https://127.0.0.1:1"})
	if err := outside.Validate(); err != nil {
		t.Errorf("for an agent outside: %v, kept %q", err, kept)
	}
	for installed, newer := range map[string]bool{"": false, "dev": false, version.Version: false, "v999.0.0": true} {
		if (PreviousOptions{Version: installed}).Newer() != newer {
			t.Errorf("%q is newer: %v", installed, !newer)
		}
	}
}
