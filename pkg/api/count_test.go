package api_test

import (
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestCount(t *testing.T) {
	for number, wanted := range map[int]string{0: "0 pods", 1: "1 pod", 2: "2 pods"} {
		if got := api.Count(number, "pod"); got != wanted {
			t.Errorf("%d is written as %q instead of %q", number, got, wanted)
		}
	}
}
