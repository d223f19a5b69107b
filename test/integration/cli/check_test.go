package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// After a time-out, check prints the results so far and reports the others as skipped.
func TestCheckPrintsItsResultsAfterATimeout(t *testing.T) {
	admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	slow := proxy(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "selfsubjectaccessreviews") {
			// Only then does the server notice that the client has disconnected.
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return true
			}
			<-r.Context().Done()
			return true
		}
		return false
	})
	result := want(t, exit.TimedOut, run(t, slow, "check", "--timeout", "2s", "-o", "json"))
	var view printer.Checks
	if err := json.Unmarshal([]byte(result.out), &view); err != nil {
		t.Fatal(err)
	}
	if view.Passed || len(view.Checks) < 10 {
		t.Errorf("passed %v, %d checks", view.Passed, len(view.Checks))
	}
	for _, check := range view.Checks {
		want := printer.Skip
		if check.ID == "server-version" {
			want = printer.Pass
		}
		if check.Outcome != want || want == printer.Skip && !strings.Contains(check.Detail, "not checked: --timeout 2s expired") {
			t.Errorf("check %s: %s %q", check.ID, check.Outcome, check.Detail)
		}
	}
	wantText(t, result.errOut, "checks not finished within 2s", "longer --timeout")
}

func TestCheckReportsAMissingInstallOnce(t *testing.T) {
	admin(t)
	result := want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "check"))
	wantText(t, result.out, "✗ agent: agent pods · nodecleanup is not installed in namespace nodecleanup-system", "fix: kubectl nodecleanup install --wait", "1 failed")
	if number := strings.Count(result.out, "✗"); number != 1 {
		t.Errorf("%d errors:\n%s", number, result.out)
	}
}
