package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// A kubeconfig of a cloud gets credentials from a program. If that fails, no API server is to blame.
func TestFailingCredentialPluginIsNamed(t *testing.T) {
	folder := t.TempDir()
	fails := filepath.Join(folder, "fails")
	if err := os.WriteFile(fails, []byte("#!/bin/sh\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ exec, want string }{
		"is missing":       {"command: no-such-plugin, interactiveMode: Never, installHint: get it at example.com", "runs no-such-plugin to get credentials, but it is not on the PATH: install it. get it at example.com"},
		"wants a terminal": {"command: " + fails + ", interactiveMode: Always", "which needs a terminal"},
		"fails":            {"command: " + fails + ", interactiveMode: Never", "and it failed"},
	} {
		t.Run(name, func(t *testing.T) {
			kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
			content := `apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, ` + test.exec + `}}}]
`
			if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
			if err := Execute(t.Context(), streams, []string{"status", "--kubeconfig", kubeconfig}); err == nil {
				t.Fatal("it succeeded")
			}
			if said := out.String(); !strings.Contains(said, test.want) || strings.Contains(said, "cannot be reached") {
				t.Errorf("it says %q, want %q", said, test.want)
			}
		})
	}
}
