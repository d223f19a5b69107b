package api

import (
	"errors"
	"testing"
)

func TestEditCommandNamesTheInvalidResource(t *testing.T) {
	const status, node = "kubectl edit node w --subresource=status", "kubectl edit node w"
	for text, want := range map[string]string{
		`Node "w" is invalid: status.addresses[1]: Duplicate value: "10.0.0.7"`:                                    status,
		`Node "w" is invalid: [status.addresses[1]: Duplicate value, status.addresses[2]: Duplicate value]`:        status,
		`removing finalizer: Node "w" is invalid: spec.taints[0].effect: Unsupported value: "x"`:                   node,
		`Node "status.example" is invalid: metadata.labels: Invalid value: "a b": a valid label must be an empty…`: node,
	} {
		if got := EditCommand("w", errors.New(text)); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
