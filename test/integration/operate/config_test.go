package operate_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// editor has config edit run a shell script with the file to edit as $1.
func editor(t *testing.T, script string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(file, []byte("set -eu\n"+script), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBE_EDITOR", "sh "+file)
}

// config returns the config on the cluster.
func (f *fixture) config() string {
	f.Helper()
	configMap, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(f.Context(), api.ConfigName, metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return configMap.Data[api.ConfigKey]
}

func TestConfigIsViewedComparedAndEdited(t *testing.T) {
	f := setUp(t, "# ours\nsteps:\n- {name: tell, plugin: paging, options: {channel: ops}}\n")
	f.startWith(withPaging)
	t.Setenv("TMPDIR", t.TempDir()) // The editor's files remain there after an error.
	original := f.config()
	if viewed := f.run("config", "view").exits(exit.OK); viewed.out != original {
		t.Errorf("config view has changed the text:\n%s", viewed.out)
	}
	f.run("config", "view", "-o", "jsonpath={.steps[*].name}").exits(exit.OK).says("tell")
	if accepted := f.run("config", "view", "--accepted").exits(exit.OK); accepted.out != original {
		t.Errorf("config view --accepted has changed the text:\n%s", accepted.out)
	}

	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(original)
	f.run("config", "diff", file).exits(exit.OK).says("is the same")
	write(strings.ReplaceAll(original, "ops", "sre"))
	f.run("config", "diff", file).exits(1).says("-- {name: tell, plugin: paging, options: {channel: ops}}", "+- {name: tell, plugin: paging, options: {channel: sre}}")
	write(strings.ReplaceAll(original, "channel", "chanel"))
	f.run("config", "diff", file).exits(2).says("steps[0].options.chanel: unknown option of plugin paging; did you mean channel?", "Next:  Fix the lines above.")
	f.run("config", "diff", file, "-n", "elsewhere").exits(2)

	editor(t, ":\n")
	f.run("config", "edit").exits(exit.OK).says("no changes were made")
	byHelm := []byte(`{"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": "guardian"}}}`)
	if _, err := f.client.CoreV1().ConfigMaps(f.namespace).Patch(t.Context(), api.ConfigName, types.MergePatchType, byHelm, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.run("config", "edit").exits(exit.OK).says("WARNING: the config belongs to the Helm release guardian")
	editor(t, "exit 3\n")
	f.run("config", "edit").exits(exit.Failure).says("running the editor", "Your changes are in")

	// The first change is invalid. The editor opens again with the fault and its line, and the second is valid.
	editor(t, `if grep -q '#~ line' "$1"; then
	grep -q "^#~ line $(grep -n 'chanel:' "$1" | tail -n 1 | cut -d: -f1): steps\[0\].options.chanel" "$1"
	sed -i 's/chanel/channel/' "$1"
else
	sed -i 's/channel: ops/chanel: sre/' "$1"
fi
`)
	f.run("config", "edit").exits(exit.OK).says("config edited", "kubectl nodecleanup status")
	if want := strings.ReplaceAll(original, "ops", "sre"); f.config() != want {
		t.Errorf("the config is\n%s\nwant\n%s", f.config(), want)
	}
	sum := sha256.Sum256([]byte(f.config()))
	f.eventually("the agent uses the new config", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("status", "-o", "json").out, hex.EncodeToString(sum[:])[:12]), nil
	})

	// An invalid change that is saved again without a change is not stored, and remains in a file.
	editor(t, `sed -i 's/plugin: paging/plugin: pagng/' "$1"`)
	f.run("config", "edit").exits(exit.Failure).says(`unknown plugin "pagng"`, "did you mean paging?").keeps("plugin: pagng")

	// Another user changes the config while the editor is open.
	folder := t.TempDir()
	opened, proceed := filepath.Join(folder, "opened"), filepath.Join(folder, "proceed")
	for _, fifo := range []string{opened, proceed} {
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	editor(t, "echo >"+opened+"\ncat "+proceed+"\nsed -i 's/sre/mine/' \"$1\"\n")
	others := strings.ReplaceAll(f.config(), "sre", "others")
	changed := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(opened) // Blocks until the editor runs.
		f.edit(others)
		changed <- errors.Join(err, os.WriteFile(proceed, nil, 0))
	}()
	f.run("config", "edit").exits(exit.Failure).says("another user has changed it in the meantime", "kubectl nodecleanup config diff").keeps("channel: mine")
	if err := <-changed; err != nil {
		t.Fatal(err)
	}
	if f.config() != others {
		t.Errorf("the change of the other user is lost:\n%s", f.config())
	}
}

var keptIn = regexp.MustCompile(`Your changes are in (\S+\.yaml)`)

// keeps wants a text in the file that a command names.
func (r ran) keeps(text string) {
	r.Helper()
	match := keptIn.FindStringSubmatch(r.errOut)
	if match == nil {
		r.Fatalf("no file is named in: %s", r.errOut)
	}
	if written, err := os.ReadFile(match[1]); err != nil || !strings.Contains(string(written), text) {
		r.Errorf("%q is not in %s: %v\n%s", text, match[1], err, written)
	}
}

// The agent publishes the config that it accepted last. So a deleted config is not lost.
func TestDeletedConfigIsRestored(t *testing.T) {
	f := setUp(t, "# ours\nsteps:\n- {name: tell, plugin: paging, options: {channel: ops}}\n")
	f.startWith(withPaging)
	original := f.config()
	f.edit(strings.ReplaceAll(original, "channel", "chanel"))
	f.eventually("the agent refuses it", func(ctx context.Context) (bool, error) {
		return strings.Contains(f.quietly("status").out, "rejected, config "), nil
	})
	if err := f.client.CoreV1().ConfigMaps(f.namespace).Delete(t.Context(), api.ConfigName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the agent has seen the deletion", func(ctx context.Context) (bool, error) {
		return strings.Contains(f.quietly("status").out, "was deleted"), nil
	})
	const restore = "kubectl nodecleanup config view --accepted | kubectl nodecleanup install --config -"
	f.run("status").exits(exit.Unhealthy).says("Config      FAILED", "missing, config ", "Next: "+restore+"\n").hides("Next: restore")
	f.run("check").exits(exit.Unhealthy).says("fix: " + restore + "\n")
	f.run("config", "edit").exits(exit.Failure).says("Restore the config that the agent accepted last: " + restore)
	if accepted := f.run("config", "view", "--accepted").exits(exit.OK); accepted.out != original {
		t.Errorf("the accepted config is:\n%s\nwant:\n%s", accepted.out, original)
	}
}
