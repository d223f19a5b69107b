// Package workflows_test checks the GitHub Actions workflows: each run step calls a make target, and each
// action is pinned to a commit. actionlint (make verify) checks their syntax.
package workflows_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = "../.."

type step struct {
	Uses string            `json:"uses"`
	Run  string            `json:"run"`
	With map[string]string `json:"with"`
}

type workflow struct {
	Permissions *map[string]string `json:"permissions"`
	Concurrency *struct{}          `json:"concurrency"`
	Jobs        map[string]struct {
		Permissions    *map[string]string `json:"permissions"`
		TimeoutMinutes int                `json:"timeout-minutes"`
		Steps          []step             `json:"steps"`
	} `json:"jobs"`
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.y*ml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d workflows, %v", len(files), err)
	}
	all := map[string]workflow{}
	for _, file := range files {
		var one workflow
		if err := yaml.Unmarshal(read(t, file), &one); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(file)] = one
	}
	return all
}

var run = regexp.MustCompile(`^(?:sudo )?make ([a-z0-9-]+)\n?$`)

func TestEachStepIsATargetOfMake(t *testing.T) {
	makefile := string(read(t, filepath.Join(root, "Makefile")))
	for name, workflow := range workflows(t) {
		for job, content := range workflow.Jobs {
			for _, step := range content.Steps {
				if step.Run == "" {
					continue
				}
				target := run.FindStringSubmatch(step.Run)
				if target == nil || !strings.Contains(makefile, "\n"+target[1]+": ") {
					t.Errorf("%s, job %s runs %q, which is not a make target", name, job, step.Run)
				}
			}
		}
	}
}

// Every supported Kubernetes version must be tested.
func TestOldestSupportedKubernetesIsTested(t *testing.T) {
	promised := regexp.MustCompile(`(?m)^kubeVersion: ">=(1\.\d+)\.0-0"$`).FindSubmatch(read(t, filepath.Join(root, "manifests", "chart", "Chart.yaml")))
	if promised == nil {
		t.Fatal("the chart has no kubeVersion")
	}
	oldest := string(promised[1])
	if tested := string(read(t, filepath.Join(root, ".github", "workflows", "e2e.yaml"))); !strings.Contains(tested, "image: kindest/node:v"+oldest+".") {
		t.Errorf("e2e.yaml does not test Kubernetes %s, which the chart supports", oldest)
	}
	if documented := string(read(t, filepath.Join(root, "docs", "install.md"))); !strings.Contains(documented, "Kubernetes "+oldest+" or newer") {
		t.Errorf("docs/install.md does not name version %s", oldest)
	}
}

// A job without the packages skips tests and still passes.
func TestJobsInstallTheirPackages(t *testing.T) {
	for name, workflow := range workflows(t) {
		for job, content := range workflow.Jobs {
			at := func(run string) int {
				return slices.IndexFunc(content.Steps, func(one step) bool { return strings.TrimSpace(one.Run) == run })
			}
			if tests, packages := at("make test"), at("sudo make packages"); tests >= 0 && (packages < 0 || packages > tests) {
				t.Errorf("%s, job %s runs make test without make packages before it", name, job)
			}
		}
	}
}

// A tag can be moved, a commit cannot. The comment names the version of the commit, for readers and for
// Dependabot.
var pinned = regexp.MustCompile(`^[a-zA-Z0-9._/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)

func TestEachActionIsPinned(t *testing.T) {
	commits, found := map[string]string{}, 0
	for name := range workflows(t) {
		for line := range strings.Lines(string(read(t, filepath.Join(root, ".github", "workflows", name)))) {
			_, action, is := strings.Cut(line, "uses: ")
			if !is {
				continue
			}
			found++
			action = strings.TrimSpace(action)
			if !pinned.MatchString(action) {
				t.Errorf("%s uses %s, want a commit and its version", name, action)
			}
			of, _, _ := strings.Cut(action, "@")
			if other, is := commits[of]; is && other != action {
				t.Errorf("%s uses %s, another workflow %s", name, action, other)
			}
			commits[of] = action
		}
	}
	if found == 0 {
		t.Error("no action was found")
	}
}

// Every test can read a token that remains in the checkout.
func TestJobsDeclareTheirPermissions(t *testing.T) {
	for name, workflow := range workflows(t) {
		if workflow.Permissions == nil || len(*workflow.Permissions) > 0 || workflow.Concurrency == nil {
			t.Errorf("%s: want permissions: {} and a concurrency group", name)
		}
		for job, content := range workflow.Jobs {
			if content.Permissions == nil || content.TimeoutMinutes == 0 {
				t.Errorf("%s, job %s: want permissions and a timeout", name, job)
			}
			for _, step := range content.Steps {
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != "false" {
					t.Errorf("%s, job %s keeps its token in the checkout", name, job)
				}
			}
		}
	}
}

func TestDependabotCoversEachModule(t *testing.T) {
	var settings struct {
		Updates []struct {
			Ecosystem   string   `json:"package-ecosystem"`
			Directories []string `json:"directories"`
		} `json:"updates"`
	}
	if err := yaml.Unmarshal(read(t, filepath.Join(root, ".github", "dependabot.yaml")), &settings); err != nil {
		t.Fatal(err)
	}
	var known, want []string
	for _, one := range settings.Updates {
		if one.Ecosystem == "gomod" {
			known = append(known, one.Directories...)
		}
	}
	listed, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "go.mod", "**/go.mod").Output()
	if err != nil {
		t.Fatalf("listing the modules: %v", err)
	}
	for file := range strings.Lines(string(listed)) {
		want = append(want, filepath.Join("/", filepath.Dir(strings.TrimSpace(file))))
	}
	slices.Sort(known)
	slices.Sort(want)
	if !slices.Equal(known, want) {
		t.Errorf("Dependabot covers the modules in %q, want %q", known, want)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
