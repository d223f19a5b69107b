// Package krew_test checks the template of the Krew manifest against the rules
// of the krew index: https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/
package krew_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"text/template"

	"sigs.k8s.io/yaml"
)

func TestTemplateRendersAManifest(t *testing.T) {
	text, err := os.ReadFile("nodecleanup.yaml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	const checksum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	parsed, err := template.New("krew").Funcs(template.FuncMap{
		// What krew-release-bot's function of that name gives, with its indentation.
		"addURIAndSha": func(address, tag string) string {
			address = strings.ReplaceAll(address, "{{ .TagName }}", tag)
			return fmt.Sprintf("uri: %s\n    sha256: %q", address, checksum)
		},
	}).Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	var filled strings.Builder
	if err := parsed.Execute(&filled, map[string]string{"TagName": "v1.2.3"}); err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		APIVersion string
		Kind       string
		Metadata   struct{ Name string }
		Spec       struct {
			Version, ShortDescription string
			Platforms                 []struct {
				Selector         struct{ MatchLabels map[string]string }
				URI, SHA256, Bin string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(filled.String()), &manifest); err != nil {
		t.Fatalf("%v in:\n%s", err, filled.String())
	}
	if manifest.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || manifest.Kind != "Plugin" || manifest.Metadata.Name != "nodecleanup" || manifest.Spec.Version != "v1.2.3" {
		t.Errorf("the manifest begins with %+v", manifest)
	}
	if length := len(manifest.Spec.ShortDescription); length == 0 || length > 50 {
		t.Errorf("the short description has %d characters; the krew index takes up to 50", length)
	}
	if len(manifest.Spec.Platforms) != 6 {
		t.Errorf("%d platforms, want 6", len(manifest.Spec.Platforms))
	}
	for _, platform := range manifest.Spec.Platforms {
		system, machine := platform.Selector.MatchLabels["os"], platform.Selector.MatchLabels["arch"]
		if !strings.Contains(platform.URI, "/v1.2.3/kubectl-nodecleanup_"+system+"_"+machine+".") || platform.SHA256 != checksum {
			t.Errorf("%s %s comes from %s", system, machine, platform.URI)
		}
		if strings.HasSuffix(platform.Bin, ".exe") != (system == "windows") {
			t.Errorf("on %s the program is %s", system, platform.Bin)
		}
	}
}
