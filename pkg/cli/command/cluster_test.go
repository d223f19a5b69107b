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
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestMissingKubeconfigNamesTheFiles(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	t.Setenv("KUBECONFIG", first+string(filepath.ListSeparator)+second)
	_, err := NewCluster(time.Now).Clients()
	if err == nil || !strings.Contains(err.Error(), first+", "+second) || !strings.Contains(Next(err), "--kubeconfig FILE") {
		t.Errorf("%v; next: %s", err, Next(err))
	}
}

const twoContexts = `apiVersion: v1
kind: Config
current-context: a
clusters:
- {name: a, cluster: {server: "https://a:1"}}
- {name: b, cluster: {server: "https://b:1"}}
contexts:
- {name: a, context: {cluster: a, user: a}}
- {name: b, context: {cluster: b, user: b, namespace: other}}
users:
- {name: a, user: {token: token-a}}
- {name: b, user: {token: token-b}}
`

// parsed is a cluster whose flags were given.
func parsed(t *testing.T, arguments ...string) *Cluster {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte(twoContexts), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster, flags := NewCluster(time.Now), pflag.NewFlagSet("", pflag.ContinueOnError)
	cluster.AddFlags(flags)
	if err := flags.Parse(append([]string{"--kubeconfig", config}, arguments...)); err != nil {
		t.Fatal(err)
	}
	return cluster
}

// Every flag of kubectl's that says where and as whom, and what it does.
func TestEachFlagHasAnEffect(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		arguments []string
		effect    func(*rest.Config) bool
	}{
		"context":     {[]string{"--context", "b"}, func(c *rest.Config) bool { return c.Host == "https://b:1" && c.BearerToken == "token-b" }},
		"cluster":     {[]string{"--cluster", "b"}, func(c *rest.Config) bool { return c.Host == "https://b:1" && c.BearerToken == "token-a" }},
		"user":        {[]string{"--user", "b"}, func(c *rest.Config) bool { return c.Host == "https://a:1" && c.BearerToken == "token-b" }},
		"server":      {[]string{"--server", "https://c:1"}, func(c *rest.Config) bool { return c.Host == "https://c:1" }},
		"s":           {[]string{"-s", "https://c:1"}, func(c *rest.Config) bool { return c.Host == "https://c:1" }},
		"token":       {[]string{"--token", "other"}, func(c *rest.Config) bool { return c.BearerToken == "other" }},
		"as":          {[]string{"--as", "jane"}, func(c *rest.Config) bool { return c.Impersonate.UserName == "jane" }},
		"as-uid":      {[]string{"--as", "jane", "--as-uid", "7"}, func(c *rest.Config) bool { return c.Impersonate.UID == "7" }},
		"as-group":    {[]string{"--as", "jane", "--as-group", "a", "--as-group", "b"}, func(c *rest.Config) bool { return slices.Equal(c.Impersonate.Groups, []string{"a", "b"}) }},
		"authority":   {[]string{"--certificate-authority", file}, func(c *rest.Config) bool { return c.CAFile == file }},
		"certificate": {[]string{"--client-certificate", file, "--client-key", file}, func(c *rest.Config) bool { return c.CertFile == file && c.KeyFile == file }},
		"insecure":    {[]string{"--insecure-skip-tls-verify"}, func(c *rest.Config) bool { return c.Insecure }},
		"server name": {[]string{"--tls-server-name", "kubernetes"}, func(c *rest.Config) bool { return c.ServerName == "kubernetes" }},
		"timeout":     {[]string{"--request-timeout", "7s"}, func(c *rest.Config) bool { return c.Timeout == 7*time.Second }},
		"compression": {[]string{"--disable-compression"}, func(c *rest.Config) bool { return c.DisableCompression }},
		"proxy":       {[]string{"--proxy-url", "http://proxy:1"}, func(c *rest.Config) bool { return c.Proxy != nil }},
		"request rate": {nil, func(c *rest.Config) bool {
			return c.QPS == 300 && c.Burst == 500 && c.Proxy == nil && !c.DisableCompression
		}},
		"user extra": {[]string{"--as", "jane", "--as-user-extra", "scopes=view", "--as-user-extra", "scopes=edit", "--as-user-extra", "reason=a=b"}, func(c *rest.Config) bool {
			return maps.EqualFunc(c.Impersonate.Extra, map[string][]string{"scopes": {"view", "edit"}, "reason": {"a=b"}}, slices.Equal)
		}},
	} {
		config, err := parsed(t, test.arguments...).config()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !test.effect(config) {
			t.Errorf("%s: %q has no effect: %v", name, test.arguments, config)
		}
	}
	if got := parsed(t, "-n", "elsewhere").GivenNamespace(); got != "elsewhere" {
		t.Errorf("namespace %q", got)
	}
	// The namespace of a context is where its user works, not where the agent is.
	if got := parsed(t, "--context", "b").GivenNamespace(); got != "" {
		t.Errorf("namespace %q of the context is taken for the agent's", got)
	}
}

func TestBasicAuthentication(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: 'https://a:1'}}]\ncontexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := parsed(t, "--kubeconfig", config, "--username", "jane", "--password", "p").config()
	if err != nil || got.Username != "jane" || got.Password != "p" {
		t.Errorf("%v, %v", got, err)
	}
	// Without credentials nobody is asked for any: a script would wait for ever.
	if _, err := parsed(t, "--kubeconfig", config).config(); err != nil {
		t.Errorf("without credentials: %v", err)
	}
}

func TestMalformedUserExtraIsWrongUsage(t *testing.T) {
	for _, extra := range []string{"scopes", "=view"} {
		if _, err := parsed(t, "--as", "jane", "--as-user-extra", extra).Clients(); exit.Code(t.Context(), err) != exit.Usage {
			t.Errorf("%q: %v", extra, err)
		}
	}
}
