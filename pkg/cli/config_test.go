package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

const head = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps:\n"

func TestConfigValidate(t *testing.T) {
	for name, test := range map[string]struct {
		config string
		flags  []string
		code   int
		says   []string
	}{
		"valid":            {config: head + "- {name: drain, plugin: drain}\n", says: []string{"- is valid"}},
		"every fault":      {config: head + "- {name: drain, plugin: drain, options: {forcAfter: 5m, allowUnmanaged: maybe}}\n- {name: B, plugin: logger, critcal: true}\n", code: exit.Failure, says: []string{"line 5: ", `unknown field "critcal"`, "line 5: steps[1].name", "line 4: steps[0].options.allowUnmanaged: must be of type boolean, not string", "Fix the lines above."}},
		"unknown option":   {config: head + "- {name: drain, plugin: drain, options: {forcAfter: 5m}}\n", code: exit.Failure, says: []string{"line 4: steps[0].options.forcAfter: unknown option of plugin drain; did you mean forceAfter? See: kubectl nodecleanup plugins describe drain"}},
		"custom plugin":    {config: head + "- {name: a, plugin: paging}\n", code: exit.Failure, says: []string{`unknown plugin "paging"`, "--allow-unknown-plugins"}},
		"allowed":          {config: head + "- {name: a, plugin: paging}\n", flags: []string{"--allow-unknown-plugins"}, says: []string{"WARNING", `unknown plugin "paging"`, "- is valid"}},
		"not only unknown": {config: head + "- {name: a, plugin: paging, timeout: 5}\n", flags: []string{"--allow-unknown-plugins"}, code: exit.Failure, says: []string{`unknown plugin "paging"`, "is not a duration"}},
		"a storage step after a drain": {config: head + "- {name: drain, plugin: drain}\n- {name: move, plugin: longhorn, dependsOn: [drain]}\n",
			says: []string{`WARNING: the config is valid, but probably not as intended: line 5: steps[1].dependsOn: step "move" (plugin longhorn) runs after step "drain"`, "- is valid"}},
		"nothing": {code: exit.Failure, says: []string{"the config is empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			streams := genericiooptions.IOStreams{In: strings.NewReader(test.config), Out: &out, ErrOut: &errOut}
			err := Execute(t.Context(), streams, append([]string{"config", "validate", "-", "--kubeconfig", "/does/not/exist"}, test.flags...))
			if code := exit.Code(t.Context(), err); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, text := range test.says {
				if !strings.Contains(out.String()+errOut.String(), text) {
					t.Errorf("missing %q in:\n%s%s", text, out.String(), errOut.String())
				}
			}
		})
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(head+"- {name: drain, plugin: drain}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := execute(t, "config", "validate", file); stdout != file+" is valid\n" || stderr != "" || code != exit.OK {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// Without a cluster, each plugin of the released agent is described, and its example is a valid step.
func TestPluginsDescribe(t *testing.T) {
	for _, descriptor := range catalog() {
		stdout, stderr, code := execute(t, "plugins", "describe", descriptor.Name, "--kubeconfig", "/does/not/exist")
		if code != exit.OK || stderr != "" {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
		for _, name := range descriptor.OptionNames() {
			if !strings.Contains(stdout, "\n  "+name+" (") {
				t.Errorf("%s: option %s is missing in:\n%s", descriptor.Name, name, stdout)
			}
		}
		options, _, _ := strings.Cut(stdout, "Example:")
		for line := range strings.Lines(options) {
			if len(line) > 81 {
				t.Errorf("%s: a line is wider than 80 characters: %s", descriptor.Name, line)
			}
		}
		example, _, code := execute(t, "plugins", "describe", descriptor.Name, "-o", "jsonpath={.example}")
		needed, _, _ := execute(t, "plugins", "describe", descriptor.Name, "-o", "jsonpath={.config}")
		var out, errOut bytes.Buffer
		streams := genericiooptions.IOStreams{In: strings.NewReader(head + example + needed), Out: &out, ErrOut: &errOut}
		if err := Execute(t.Context(), streams, []string{"config", "validate", "-"}); err != nil || code != exit.OK || !strings.Contains(example, "plugin: "+descriptor.Name) {
			t.Errorf("the example %s: %v %s", example, err, errOut.String())
		}
	}
	stdout, _, _ := execute(t, "plugins", "describe", "job")
	for _, text := range []string{"  jobs:\n  - {namespace: node-jobs, serviceAccounts: [archiver]}\n", "The example needs these rights in namespace node-jobs:\n", "  serviceaccounts/archiver   get\n"} {
		if !strings.Contains(stdout, text) {
			t.Errorf("missing %q in:\n%s", text, stdout)
		}
	}
	stdout, _, _ = execute(t, "plugins", "describe", "drain")
	for _, text := range []string{"critical, timeout 30m", "preview, verification, withdrawal", "pods/eviction   create"} {
		if !strings.Contains(stdout, text) {
			t.Errorf("missing %q in:\n%s", text, stdout)
		}
	}
	needed, optional, found := strings.Cut(stdout, "\nIt uses these rights if the agent has them, and install grants them:\n")
	if strings.Contains(needed, "  delete") {
		t.Errorf("the rights are not those of the default options:\n%s", needed)
	}
	if !found || !strings.Contains(optional, "poddisruptionbudgets.policy   ") {
		t.Errorf("the optional rights are missing in:\n%s", stdout)
	}
	if stdout, _, _ := execute(t, "plugins", "describe", "http"); !strings.Contains(stdout, ", outputs") {
		t.Errorf("the ability outputs is missing in:\n%s", stdout)
	}
}
