package plugins

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The CLI checks configs with the zero Dependencies.
func TestCatalogChecksOptionsWithoutDependencies(t *testing.T) {
	options := map[string]string{
		"alertmanager":          `{"url":"http://alertmanager:9093"}`,
		"aws-auto-scaling":      `{"action":"Terminate","decrement":true}`,
		"aws-target-groups":     `{"targetGroups":["arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef"]}`,
		"azure-virtual-machine": `{"resourceGroups":["/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/nodes"]}`,
		"grafana":               `{"url":"https://grafana.example.com","token":{"secretKeyRef":{"name":"grafana","key":"token"}}}`,
		"email":                 `{"host":"smtp.example.com","from":"nodes@example.com","to":["ops@example.com"]}`,
		"teams":                 `{"webhookURL":{"secretKeyRef":{"name":"teams","key":"url"}}}`,
		"etcd":                  `{"caBundle":{"secretKeyRef":{"name":"etcd","key":"ca"}},"certificate":{"secretKeyRef":{"name":"etcd","key":"crt"}},"key":{"secretKeyRef":{"name":"etcd","key":"key"}}}`,
		"http":                  `{"url":"https://inventory.example.com"}`, "webhook": `{"url":"https://cleanup.example.com"}`,
		"cmdb":       `{"url":"https://cmdb.example.com","lookup":{"path":"machines","match":{"/name":"${node.name}"}},"change":{"method":"DELETE","path":"machines/{id}"}}`,
		"consul":     `{"url":"https://consul.example.com:8501"}`,
		"dns":        `{"zone":"nodes.example.com","powerDNS":{"url":"https://pdns.example.com","apiKey":{"secretKeyRef":{"name":"dns","key":"key"}}}}`,
		"netbox":     `{"url":"https://netbox.example.com","token":{"secretKeyRef":{"name":"netbox","key":"token"}}}`,
		"pagerduty":  `{"routingKey":{"secretKeyRef":{"name":"pagerduty","key":"routing-key"}}}`,
		"portworx":   `{"image":"busybox"}`,
		"servicenow": `{"url":"https://example.service-now.com","apiKey":{"secretKeyRef":{"name":"servicenow","key":"key"}}}`,
		"slack":      `{"webhookURL":{"secretKeyRef":{"name":"slack","key":"url"}}}`,
		"job":        `{"namespace":"ops","templateFrom":{"configMap":"archive"}}`,
	}
	names := map[string]bool{}
	for _, descriptor := range All(Dependencies{}) {
		if names[descriptor.Name] {
			t.Errorf("there are two plugins named %s", descriptor.Name)
		}
		names[descriptor.Name] = true
		if plugin, faults := descriptor.Bind([]byte(options[descriptor.Name])); plugin == nil || len(faults) > 0 {
			t.Errorf("%s: %v", descriptor.Name, errors.Join(faults...))
		}
		if _, faults := descriptor.Bind([]byte(`{"noSuchOption":1}`)); len(faults) == 0 {
			t.Errorf("%s takes an unknown option", descriptor.Name)
		}
	}
}

func TestEachPluginHasAFolderWithAREADME(t *testing.T) {
	for _, descriptor := range All(Dependencies{}) {
		text, err := os.ReadFile(filepath.Join(descriptor.Name, "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{"# " + descriptor.Name + "\n", "| option | type | default | meaning |", "plugin: " + descriptor.Name + "\n"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%q is missing in the README of %s", want, descriptor.Name)
			}
		}
		if descriptor.OptionNames() == nil {
			t.Errorf("%s does not name its options", descriptor.Name)
		}
		for _, option := range descriptor.OptionNames() {
			if !strings.Contains(string(text), "`"+option+"`") {
				t.Errorf("option %s is missing in the README of %s", option, descriptor.Name)
			}
		}
	}
}

func TestPluginsAreSortedByName(t *testing.T) {
	var names []string
	for _, descriptor := range Catalog(Dependencies{}) {
		names = append(names, descriptor.Name)
	}
	if !slices.IsSorted(names) {
		t.Errorf("the plugins are listed as %q", names)
	}
}
