package cli

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/klog/v2"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// A response that ends early is logged by client-go and reported by the command.
func TestClientGoLogsNothing(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("Content-Length", "1000")
	}))
	defer server.Close()
	var logged bytes.Buffer
	klog.LogToStderr(false)
	klog.SetOutput(&logged)
	defer func() { klog.SetOutput(io.Discard); klog.LogToStderr(true) }()
	_, stderr, code := execute(t, "history", "-n", "ns", "-s", server.URL)
	klog.Flush()
	if code != exit.Failure || !strings.Contains(stderr, "unexpected EOF") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if logged.Len() > 0 {
		t.Errorf("logged: %s", logged.String())
	}
}
