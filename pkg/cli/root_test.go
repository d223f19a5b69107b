package cli

import (
	"bytes"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer/printertest"
)

func execute(t *testing.T, arguments ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}
	err := Execute(t.Context(), streams, arguments)
	return out.String(), errOut.String(), exit.Code(t.Context(), err)
}

func TestHelpGolden(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	for name, one := range everyCommand(New(command.NewEnvironment(streams)), "") {
		if !one.IsAvailableCommand() && name != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := execute(t, append(strings.Fields(name), "--help")...)
			if code != exit.OK || stderr != "" {
				t.Errorf("exit code %d, stderr %q", code, stderr)
			}
			printertest.Golden(t, strings.TrimPrefix(strings.ReplaceAll(name, " ", "-")+"-help.txt", "-"), stdout)
		})
	}
}

// everyCommand returns the tree, flat: "plugins test" and so on.
func everyCommand(parent *cobra.Command, prefix string) map[string]*cobra.Command {
	all := map[string]*cobra.Command{prefix: parent}
	for _, child := range parent.Commands() {
		maps.Copy(all, everyCommand(child, strings.TrimSpace(prefix+" "+child.Name())))
	}
	return all
}

func TestWrongUsage(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct {
		arguments []string
		code      int
		says      []string
	}{
		"no such command":    {[]string{"instal"}, exit.Usage, []string{`there is no command "instal"`, "install"}},
		"no such flag":       {[]string{"status", "--what"}, exit.Usage, []string{"kubectl nodecleanup status", "--what", "--help"}},
		"an argument":        {[]string{"status", "n1"}, exit.Usage, []string{"takes no arguments"}},
		"no node":            {[]string{"bypass", "--reason", "r"}, exit.Usage, []string{"the name of one node or more, or --selector"}},
		"no reason":          {[]string{"bypass", "n1", "--reason", " "}, exit.Usage, []string{"--reason"}},
		"a long reason":      {[]string{"bypass", "n1", "--reason", strings.Repeat("x", 513)}, exit.Usage, []string{"512"}},
		"no length":          {[]string{"bypass", "n1", "--reason", "r", "--for", "0s"}, exit.Usage, []string{"--for"}},
		"no such format":     {[]string{"status", "-o", "xml"}, exit.Usage, []string{`"xml"`, "table, wide, short, json, yaml, name, kyaml, jsonpath=..."}},
		"two nodes":          {[]string{"history", "a", "b"}, exit.Usage, []string{"one node at most"}},
		"a node and more":    {[]string{"plan", "n1", "-l", "a=b"}, exit.Usage, []string{"names of nodes or --selector, not both"}},
		"another kind":       {[]string{"retry", "pod/web"}, exit.Usage, []string{`invalid node name "pod/web"`}},
		"an empty name":      {[]string{"cleanup", "n1", "node/"}, exit.Usage, []string{`invalid node name "node/"`}},
		"an empty selector":  {[]string{"bypass", "-l", "", "--reason", "r"}, exit.Usage, []string{"or --selector"}},
		"no selector":        {[]string{"plan", "-l", "a in"}, exit.Usage, []string{"--selector"}},
		"nothing to plan":    {[]string{"plan"}, exit.Usage, []string{"the name of one node or more"}},
		"a negative time":    {[]string{"history", "--since", "-1h"}, exit.Usage, []string{"--since"}},
		"no time to wait":    {[]string{"retry", "n1", "--timeout", "0s"}, exit.Usage, []string{"--timeout"}},
		"no form of nodes":   {[]string{"nodes", "list", "-o", "xml"}, exit.Usage, []string{"table, wide, short, json, yaml, name, kyaml, jsonpath=..."}},
		"no such dry run":    {[]string{"install", "--dry-run=maybe"}, exit.Usage, []string{"none, client or server"}},
		"wait in a dry run":  {[]string{"install", "--dry-run=client", "--wait"}, exit.Usage, []string{"--wait"}},
		"diff and objects":   {[]string{"install", "--diff", "-o", "yaml"}, exit.Usage, []string{"--diff"}},
		"no such setting":    {[]string{"install", "--set", "colour=red"}, exit.Usage, []string{`no setting "colour"`, "failurePolicy"}},
		"a bad setting":      {[]string{"install", "--set", "failurePolicy=Maybe,resources.limits.memory=much"}, exit.Usage, []string{"Ignore or Fail", "quantity"}},
		"no agent to set":    {[]string{"install", "--agent-url", "https://a", "--set", "imagePullPolicy=Never"}, exit.Usage, []string{"has no effect"}},
		"no folder":          {[]string{"install", "--dry-run=client", "-k", "/does/not/exist"}, exit.Usage, []string{"building the kustomization in /does/not/exist"}},
		"watch for programs": {[]string{"status", "-w", "-o", "json"}, exit.Usage, []string{"--watch"}},
		"no such check":      {[]string{"check", "--suppress", "nothing"}, exit.Usage, []string{"check --list"}},
		"no such severity":   {[]string{"check", "--fail-on", "never"}, exit.Usage, []string{"error or warning"}},
		"no step to test":    {[]string{"plugins", "test"}, exit.Usage, []string{"one step, notification or plugin"}},
		"no time":            {[]string{"uninstall", "--timeout", "0s"}, exit.Usage, []string{"--timeout"}},
		"options at once":    {[]string{"install", "--replicas", "0", "--image", "a b"}, exit.Usage, []string{"at least 1", "white space"}},
		"no file":            {[]string{"config", "validate"}, exit.Usage, []string{"one file, or - for stdin"}},
		"no such config":     {[]string{"config", "validate", "/does/not/exist"}, exit.Usage, []string{"/does/not/exist"}},
		"no plugin":          {[]string{"plugins", "describe"}, exit.Usage, []string{"one plugin"}},
		"no such plugin":     {[]string{"plugins", "describe", "drian"}, exit.Failure, []string{`there is no plugin "drian"`, "Did you mean: kubectl nodecleanup plugins describe drain?", "plugins list"}},
		"no such file":       {[]string{"install", "--config", "/does/not/exist"}, exit.Usage, []string{"/does/not/exist"}},
		"a bad config": {
			[]string{"install", "--config", file("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nstep: 1\nsteps:\n- {name: a, plugin: nope}\n")}, exit.Failure,
			[]string{"line 3", `"step"`, "line 5", `unknown plugin "nope"`, "nothing was sent"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := execute(t, append(test.arguments, "--kubeconfig", "/does/not/exist/either")...)
			if code != test.code || stdout != "" {
				t.Errorf("exit code %d, want %d; stdout %q", code, test.code, stdout)
			}
			for _, text := range test.says {
				if !strings.Contains(stderr, text) {
					t.Errorf("missing %q in %q", text, stderr)
				}
			}
		})
	}
}

func TestClientDryRunSendsNoRequest(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = func(net.Conn, http.ConnState) { requests.Add(1) }
	server.Start()
	defer server.Close()
	stdout, stderr, code := execute(t, "install", "--dry-run=client", "-o", "yaml", "-n", "elsewhere", "--server", server.URL)
	if code != exit.OK || stderr != "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if !strings.Contains(stdout, "namespace: elsewhere") {
		t.Errorf("printed %s", stdout)
	}
	if requests.Load() > 0 {
		t.Error("a client dry run has contacted the server")
	}
	// The same flag reaches the server if a command needs one.
	execute(t, "status", "--server", server.URL)
	if requests.Load() == 0 {
		t.Error("status has contacted nobody: the test proves nothing")
	}
}

// As in kubectl, --dry-run without a value means client.
func TestDryRunDefaultsToClient(t *testing.T) {
	stdout, stderr, code := execute(t, "install", "--dry-run", "-o", "yaml", "--kubeconfig", "/does/not/exist")
	if code != exit.OK || stderr != "" || !strings.Contains(stdout, "kind: Deployment") {
		t.Errorf("exit code %d, stderr %q, stdout %q", code, stderr, stdout)
	}
}

// As kubectl options does: all flags, those too that the help of a command leaves out.
func TestOptionsListsEveryInheritedFlag(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	stdout, stderr, code := execute(t, "options")
	if code != exit.OK || stderr != "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	number := 0
	New(command.NewEnvironment(streams)).PersistentFlags().VisitAll(func(flag *pflag.Flag) {
		number++
		if !strings.Contains(stdout, "--"+flag.Name+" ") {
			t.Errorf("--%s is not listed", flag.Name)
		}
	})
	for _, name := range []string{"--as-user-extra", "--cache-dir", "--insecure-skip-tls-verify"} {
		if !strings.Contains(stdout, name) {
			t.Errorf("%s is not among the %d flags", name, number)
		}
	}
}

func TestDefaultConfigIsValid(t *testing.T) {
	objects, err := install.Render(t.Context(), install.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		data, found, err := unstructured.NestedString(object.Object, "data", api.ConfigKey)
		if err != nil || !found {
			continue
		}
		settings, err := config.Parse([]byte(data), catalog())
		if err != nil {
			t.Fatal(err)
		}
		if first := settings.Steps[0]; first.Plugin != "drain" || !first.Critical {
			t.Errorf("the first step is %+v, want a critical drain", first)
		}
		return
	}
	t.Error("there is no config among the manifests")
}
