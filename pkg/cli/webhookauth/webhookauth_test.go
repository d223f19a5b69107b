package webhookauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

func run(t *testing.T, arguments ...string) (stdout, stderr string, err error) {
	t.Helper()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	cmd := New(command.NewEnvironment(streams))
	cmd.SetArgs(append([]string{"generate"}, arguments...))
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errOut.String(), err
}

func read(t *testing.T, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func leaf(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "control-plane", "client.crt"), filepath.Join(dir, "control-plane", "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func signedBy(t *testing.T, dir string, certificate *x509.Certificate) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, dir, "ca.crt"))
	if _, err := certificate.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
}

func TestGenerateAndRenew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	stdout, stderr, err := run(t, "--output-dir", dir, "--valid-for", "48h")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(stdout) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if secret := strings.HasSuffix(name, ".key"); secret && info.Mode().Perm() != 0o600 {
			t.Errorf("%s may be read by others: %s", name, info.Mode())
		}
	}
	if want := "--admission-control-config-file=/etc/kubernetes/nodecleanup/admission.yaml"; !strings.Contains(stderr, want) {
		t.Errorf("the instructions lack %q:\n%s", want, stderr)
	}
	first := leaf(t, dir)
	signedBy(t, dir, first)
	if life := time.Until(first.NotAfter); first.Subject.CommonName != api.WebhookClientSubject || life > 48*time.Hour || life < 47*time.Hour {
		t.Errorf("the certificate is of %q, for %s", first.Subject.CommonName, life)
	}
	authority := read(t, dir, "ca.crt")

	if _, _, err := run(t, "--output-dir", dir); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a second run was answered %v", err)
	}
	if !leaf(t, dir).Equal(first) {
		t.Error("a run that failed replaced the certificate")
	}
	if _, _, err := run(t, "--output-dir", dir, "--renew"); err != nil {
		t.Fatal(err)
	}
	second := leaf(t, dir)
	signedBy(t, dir, second)
	if second.Equal(first) || !bytes.Equal(read(t, dir, "ca.crt"), authority) {
		t.Error("renewing made no new certificate, or a new CA")
	}
	if _, _, err := run(t, "--output-dir", filepath.Join(dir, "none"), "--renew"); err == nil || !strings.Contains(err.Error(), "--output-dir") {
		t.Errorf("renewing by no CA was answered %v", err)
	}
}

func TestFilesReferToEachOther(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := run(t, "--output-dir", dir, "--control-plane-dir", "/srv/x", "--webhook-host", "127.0.0.1:9443"); err != nil {
		t.Fatal(err)
	}
	for name, wants := range map[string][]string{
		"kubeconfig.yaml": {"name: 127.0.0.1:9443", "client-certificate: /srv/x/client.crt", "client-key: /srv/x/client.key"},
		"admission.yaml":  {"kubeConfigFile: /srv/x/kubeconfig.yaml", "name: MutatingAdmissionWebhook", "name: ValidatingAdmissionWebhook"},
	} {
		content := read(t, dir, "control-plane", name)
		for _, want := range wants {
			if !bytes.Contains(content, []byte(want)) {
				t.Errorf("%s lacks %q:\n%s", name, want, content)
			}
		}
	}
}

// The installed agent mounts the CA and requires client certificates.
func TestKustomizationInstalls(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := run(t, "--output-dir", dir, "--subject", "api"); err != nil {
		t.Fatal(err)
	}
	objects, err := install.Render(t.Context(), install.Options{Kustomization: filepath.Join(dir, "agent"), Build: func(_ context.Context, folder string) ([]byte, error) {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
		if err != nil {
			return nil, err
		}
		return built.AsYaml()
	}})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, object := range objects {
		text := fmt.Sprint(object.Object)
		switch {
		case object.GetKind() == "Deployment":
			found++
			for _, want := range []string{"--webhook-client-ca=/etc/nodecleanup/webhook-clients/ca.crt", "--webhook-client-subjects=api", "--webhook-listen=:9443",
				"mountPath:/etc/nodecleanup/webhook-clients", "configMap:map[name:nodecleanup-webhook-clients]"} {
				if !strings.Contains(text, want) {
					t.Errorf("the Deployment lacks %q: %s", want, text)
				}
			}
		case object.GetName() == api.WebhookClientsName:
			found++
			if !strings.Contains(text, "BEGIN CERTIFICATE") || strings.Contains(text, "PRIVATE KEY") || object.GetNamespace() != api.Namespace {
				t.Errorf("the CA for the agent is %s", text)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d objects, want the Deployment and the CA", found)
	}
}

func TestWrongFlags(t *testing.T) {
	for _, arguments := range [][]string{
		{"--output-dir", ""}, {"--control-plane-dir", "here"}, {"--subject", " "}, {"--valid-for", "0s"}, {"--valid-for", "100000h"}, {"--webhook-host", "https://a"}, {"more"},
	} {
		if _, _, err := run(t, arguments...); err == nil {
			t.Errorf("%q was taken", arguments)
		}
	}
}
