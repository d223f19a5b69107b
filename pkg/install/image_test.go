package install

import (
	"strings"
	"testing"
)

func TestImageReference(t *testing.T) {
	for reference, valid := range map[string]bool{
		Repository + ":v1.2.3":              true,
		"agent":                             true,
		"localhost:5000/agent:dev":          true,
		"Registry.example.com/team/agent_x": true,
		"[::1]:5000/agent":                  true,
		"registry/agent@sha256:" + strings.Repeat("0a", 32): true,
		"IMAGE":                  false,
		"REGISTRY/IMAGE:TAG":     false,
		"agent:":                 false,
		"…":                      false,
		"a b":                    false,
		"https://registry/agent": false,
	} {
		if err := validateImage(reference); (err == nil) != valid {
			t.Errorf("%s: %v", reference, err)
		}
	}
}

// An earlier version has accepted a placeholder.
func TestPreviousPlaceholderIsNotReused(t *testing.T) {
	options, kept := PreviousOptions{Image: "IMAGE"}.Complete(Options{})
	if options.Image != "" || len(kept) > 0 {
		t.Errorf("image %q, reused %q", options.Image, kept)
	}
}
