package agreement_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	helmchart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// What a release publishes is read by Helm as the chart in this repository, and tells
// the version of the release.
func TestPackagedChartMatchesTheSource(t *testing.T) {
	packaged, err := loader.LoadFile(packedChart(t))
	if err != nil {
		t.Fatal(err)
	}
	sources, err := loader.LoadDir(chart)
	if err != nil {
		t.Fatal(err)
	}
	if err := packaged.Validate(); err != nil {
		t.Error(err)
	}
	if got := packaged.Metadata; got.Version != "1.2.3" || got.AppVersion != "v1.2.3" {
		t.Errorf("version %q, appVersion %q", got.Version, got.AppVersion)
	}
	packaged.Metadata.Version, packaged.Metadata.AppVersion = sources.Metadata.Version, sources.Metadata.AppVersion
	if got, want := sorted(packaged), sorted(sources); !slices.EqualFunc(got, want, func(a, b *common.File) bool {
		return a.Name == b.Name && (a.Name == "Chart.yaml" || bytes.Equal(a.Data, b.Data))
	}) {
		t.Errorf("in the package are %s, in the repository %s", names(got), names(want))
	}
}

func TestPackageIsReproducible(t *testing.T) {
	first, err := os.ReadFile(packedChart(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(packedChart(t))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("two packages differ, error %v", err)
	}
}

func packedChart(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	release := exec.CommandContext(t.Context(), "go", "run", "./hack/release", "-only", "chart", "-version", "v1.2.3", folder)
	release.Dir = manifests + "/.."
	if said, err := release.CombinedOutput(); err != nil {
		t.Fatalf("packing the chart: %v\n%s", err, said)
	}
	return filepath.Join(folder, "nodecleanup-1.2.3.tgz")
}

func sorted(of *helmchart.Chart) []*common.File {
	files := slices.Clone(of.Raw)
	slices.SortFunc(files, func(a, b *common.File) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return files
}

func names(files []*common.File) []string {
	var all []string
	for _, file := range files {
		all = append(all, file.Name)
	}
	return all
}
