package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// An API server with thousands of nodes answers late. Ctrl-C during that time does not mean that it
// cannot be reached.
func TestCtrlCDuringARequest(t *testing.T) {
	for _, arguments := range [][]string{{"status"}, {"status", "-w"}, {"nodes", "list"}, {"history"}, {"cleanup", "n", "--wait"}, {"retry", "n", "--wait"}} {
		t.Run(strings.Join(arguments, " "), func(t *testing.T) {
			var once sync.Once // A second signal ends the process.
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
				once.Do(func() {
					if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
						t.Error(err)
					}
				})
				<-request.Context().Done()
			}))
			defer server.Close()
			ctx, stop := exit.OnSignal(t.Context())
			defer stop()
			var out, errOut bytes.Buffer
			err := Execute(ctx, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}, append(arguments, "--server", server.URL, "-n", "agents"))
			if code := exit.Code(ctx, err); code != exit.Interrupted {
				t.Errorf("exit code %d: %v", code, err)
			}
			if strings.Contains(errOut.String(), "cannot be reached") {
				t.Error(errOut.String())
			}
		})
	}
}
