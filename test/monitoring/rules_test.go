package monitoring

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

const runbooks = "https://github.com/nodecleanup/kubectl-nodecleanup/blob/main/docs/runbooks.md#"

func rules(t *testing.T) []Rule {
	t.Helper()
	all, err := Rules()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("there is no alert")
	}
	return all
}

func promtool(t *testing.T, arguments ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("skipped: there is no promtool on the PATH (Debian: apt-get install prometheus)")
	}
	if said, err := exec.CommandContext(t.Context(), tool, arguments...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, said)
	}
}

func TestPrometheusAcceptsTheRules(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", AlertsFile())
}

func TestAlertsFireAndKeepSilent(t *testing.T) {
	for _, file := range cases(t) {
		t.Run(filepath.Base(file), func(t *testing.T) { promtool(t, "test", "rules", file) })
	}
}

func cases(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("rules/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files with cases, %v", len(files), err)
	}
	return files
}

// promtool only runs the cases that the file contains.
func TestEachAlertHasFiringAndSilentCases(t *testing.T) {
	type check struct {
		Alert string `json:"alertname"`
		Fires []struct {
			Labels map[string]string `json:"exp_labels"`
		} `json:"exp_alerts"`
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, file := range cases(t) {
		var content struct {
			Tests []struct {
				Checks []check `json:"alert_rule_test"`
			} `json:"tests"`
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, one := range content.Tests {
			for _, check := range one.Checks {
				silent[check.Alert] = silent[check.Alert] || len(check.Fires) == 0
				for _, alert := range check.Fires {
					fires[check.Alert+"/"+alert.Labels["severity"]] = true
				}
			}
		}
	}
	for _, rule := range rules(t) {
		if name := rule.Alert + "/" + rule.Labels["severity"]; !fires[name] {
			t.Errorf("there is no case in which %s fires", name)
		}
		if !silent[rule.Alert] {
			t.Errorf("there is no case in which %s keeps silent", rule.Alert)
		}
	}
}

func TestAlertsHaveRequiredAnnotations(t *testing.T) {
	seen := map[string]bool{}
	for _, rule := range rules(t) {
		severity := rule.Labels["severity"]
		if name := rule.Alert + "/" + severity; seen[name] {
			t.Errorf("there are two rules %s", name)
		} else {
			seen[name] = true
		}
		if severity != "critical" && severity != "warning" {
			t.Errorf("%s: severity %q", rule.Alert, severity)
		}
		if !strings.HasPrefix(rule.Alert, "NodeCleanup") {
			t.Errorf("%s does not say whose it is", rule.Alert)
		}
		for _, name := range []string{"summary", "description"} {
			if rule.Annotations[name] == "" {
				t.Errorf("%s has no %s", rule.Alert, name)
			}
		}
		if want := runbooks + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q, want %q", rule.Alert, rule.Annotations["runbook_url"], want)
		}
	}
}

var chapter = regexp.MustCompile(`(?m)^## (\S+)$`)

// GitHub's anchor of a heading of one word is that word in lower case.
func TestEachAlertHasARunbookAndEachRunbookAnAlert(t *testing.T) {
	text, err := Document("runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	var alerts, written []string
	for _, rule := range rules(t) {
		if !slices.Contains(alerts, rule.Alert) {
			alerts = append(alerts, rule.Alert)
		}
	}
	chapters := chapter.FindAllStringSubmatchIndex(text, -1)
	for i, at := range chapters {
		name, end := text[at[2]:at[3]], len(text)
		if i+1 < len(chapters) {
			end = chapters[i+1][0]
		}
		written = append(written, name)
		for _, part := range []string{"**Means:**", "**Check:**", "**Fix:**"} {
			if !strings.Contains(text[at[1]:end], part) {
				t.Errorf("the runbook of %s has no part %s", name, part)
			}
		}
	}
	if !slices.Equal(alerts, written) {
		t.Errorf("alerts:   %s\nrunbooks: %s", alerts, written)
	}
}
