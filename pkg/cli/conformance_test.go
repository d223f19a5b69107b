package cli

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// service is done at once, and returns the params as an output.
type service struct{}

func (service) Cleanup(_ context.Context, request *webhookplugin.Request) (webhookplugin.Answer, error) {
	if strings.Contains(string(request.Params), "fail") {
		return webhookplugin.FailedPermanently("the disk is full\x1b[2J"), nil
	}
	return webhookplugin.Done(map[string]string{"params": string(request.Params)}), nil
}

func TestConformanceReportsEachCheck(t *testing.T) {
	server := httptest.NewServer(webhookplugin.Handler(service{}, webhookplugin.Options{Name: "service", Token: "token-1"}))
	t.Cleanup(server.Close) // After the parallel tests.
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("token-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		arguments []string
		code      int
		says      []string
	}{
		"passes":      {[]string{server.URL, "--token-file", token}, exit.OK, []string{"✓ discovery: GET /v1/ lists the version and the abilities · service: cleanup\n", "- preview: ", "12 checks: "}},
		"fails":       {[]string{server.URL + "/", "--token-file", token, "--params", `{"fail":true}`}, exit.Unhealthy, []string{"✗ cleanup: cleanup ends with Done · the service failed: the disk is full<U+001B>[2J\n"}},
		"JSON":        {[]string{server.URL, "--token-file", token, "-o", "jsonpath={.passed}"}, exit.OK, []string{"true"}},
		"no token":    {[]string{server.URL}, exit.Unhealthy, []string{"GET /v1/ answers 401 Unauthorized: the bearer token is missing or wrong", "fix: "}},
		"unreachable": {[]string{"http://127.0.0.1:1", "-o", "short"}, exit.Unhealthy, []string{"error discovery: Get \"http://127.0.0.1:1/v1/\": dial tcp", "1 failed, 11 skipped"}},
		"list":        {[]string{"--list", "-o", "name"}, exit.OK, []string{"check/idempotency\n"}},
		"no URL":      {nil, exit.Usage, []string{"takes the URL of one service"}},
		"a host":      {[]string{"localhost"}, exit.Usage, []string{"is not a URL"}},
		"with path":   {[]string{server.URL + "/v1/"}, exit.Usage, []string{"leave out the path /v1"}},
		"params":      {[]string{server.URL, "--params", "[]"}, exit.Usage, []string{"--params is not a JSON object"}},
		"no file":     {[]string{server.URL, "--token-file", token + "x"}, exit.Failure, []string{"reading the token"}},
		"no CAs":      {[]string{server.URL, "--ca-file", token}, exit.Failure, []string{"contains something other than PEM certificates"}},
		"half a pair": {[]string{server.URL, "--cert-file", token}, exit.Usage, []string{"--cert-file and --key-file are used together"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := execute(t, append([]string{"plugins", "conformance"}, test.arguments...)...)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, want := range test.says {
				if !strings.Contains(stdout+stderr, want) {
					t.Errorf("%q is missing in\n%s%s", want, stdout, stderr)
				}
			}
		})
	}
}
