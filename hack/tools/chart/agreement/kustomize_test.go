package agreement_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
)

// Each overlay has a values.yaml beside its kustomization.yaml.
func TestOverlaysAgreeWithTheChart(t *testing.T) {
	for _, folder := range folders(t, manifests+"/overlays") {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			want := fromChart(t, render.Options{Values: readValues(t, filepath.Join(folder, "values.yaml"))})
			wantSame(t, fromKustomize(t, folder), want)
		})
	}
}

func TestComponentsAreValuesOfTheChart(t *testing.T) {
	values := map[string]string{
		"cert-manager":   "certManager: {enabled: true}",
		"host-network":   "hostNetwork: true",
		"monitoring":     "{podMonitor: {enabled: true}, prometheusRule: {enabled: true}}",
		"network-policy": "networkPolicy: {enabled: true}",
		"webhook-only":   "admission: webhook",
	}
	for _, folder := range folders(t, manifests+"/components") {
		name := filepath.Base(folder)
		if strings.HasPrefix(name, rightsOf) {
			continue // See TestRightsComponents.
		}
		t.Run(name, func(t *testing.T) {
			if values[name] == "" {
				t.Fatal("this test has no values for it")
			}
			want := fromChart(t, render.Options{Values: parse(t, values[name])})
			wantSame(t, fromKustomize(t, with(t, folder)), want)
		})
	}
}

// with returns a folder whose kustomization is the base and one component.
func with(t *testing.T, component string) string {
	t.Helper()
	folder := t.TempDir()
	path := func(to string) string {
		absolute, err := filepath.Abs(to)
		if err != nil {
			t.Fatal(err)
		}
		relative, err := filepath.Rel(folder, absolute)
		if err != nil {
			t.Fatal(err)
		}
		return relative
	}
	kustomization := "resources: [" + path(manifests+"/base") + "]\ncomponents: [" + path(component) + "]\n"
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func folders(t *testing.T, parent string) []string {
	t.Helper()
	entries, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, entry := range entries {
		found = append(found, filepath.Join(parent, entry.Name()))
	}
	if len(found) == 0 {
		t.Fatalf("there is nothing in %s", parent)
	}
	return found
}
