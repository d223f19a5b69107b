package cli_test

import (
	"net/http"
	"testing"
)

// proxy is the Proxy of the cluster of all tests.
func proxy(t *testing.T, hook func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	return shared.Proxy(t, hook)
}
