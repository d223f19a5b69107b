package command

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestWithoutAKubeconfigTheFilesAreNamed(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	t.Setenv("KUBECONFIG", first+string(filepath.ListSeparator)+second)
	_, err := NewCluster(time.Now).Clients()
	if err == nil || !strings.Contains(err.Error(), first+", "+second) || !strings.Contains(Next(err), "--kubeconfig FILE") {
		t.Errorf("%v; next: %s", err, Next(err))
	}
}

func TestTheFlagsThatClientGoDoesNotBind(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: https://127.0.0.1:1}}]\ncontexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	parsed := func(arguments ...string) *Cluster {
		cluster, flags := NewCluster(time.Now), pflag.NewFlagSet("", pflag.ContinueOnError)
		cluster.AddFlags(flags)
		if err := flags.Parse(append(arguments, "--kubeconfig", config, "--as", "jane", "--cache-dir", t.TempDir())); err != nil {
			t.Fatal(err)
		}
		return cluster
	}
	rest, err := parsed("--as-user-extra", "scopes=view", "--as-user-extra", "scopes=edit", "--as-user-extra", "reason=a=b").config()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"scopes": {"view", "edit"}, "reason": {"a=b"}}
	if rest.Impersonate.UserName != "jane" || !maps.EqualFunc(rest.Impersonate.Extra, want, slices.Equal) {
		t.Errorf("it acts as %+v", rest.Impersonate)
	}
	if _, err := parsed("--as-user-extra", "scopes").Clients(); exit.Code(t.Context(), err) != exit.Usage {
		t.Errorf("without a value: %v", err)
	}
}
