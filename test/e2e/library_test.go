//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/node"
)

// librarySettings is a config with twelve plugins: URL is that of the services, ALERTMANAGER that of Alertmanager.
const librarySettings = `apiVersion: nodecleanup.io/v1alpha1
kind: Config
retry: {maxRetries: 1, initialDelay: 1s}
jobs: [{namespace: node-library, serviceAccounts: [default]}]
notifications:
- name: ops
  plugin: slack
  options: {webhookURL: {secretKeyRef: {name: library, key: slack}}}
steps:
- name: announce
  plugin: slack
  options: {webhookURL: {secretKeyRef: {name: library, key: slack}}}
- name: log
  plugin: logger
  options: {message: "${node.name} leaves"}
- name: silence
  plugin: alertmanager
  options: {url: ALERTMANAGER}
- name: mark-begin
  plugin: grafana
  options: {url: URL/grafana, token: {secretKeyRef: {name: library, key: grafana}}}
- name: open-incident
  plugin: servicenow
  options: {url: URL/servicenow, record: incident, apiKey: {secretKeyRef: {name: library, key: servicenow}}}
- name: drain
  plugin: drain
  priority: 1
- name: volumes
  plugin: volumes
  dependsOn: [drain]
- name: archive
  plugin: job
  critical: false
  dependsOn: [volumes]
  options:
    namespace: node-library
    outputs: [location]
    template: {spec: {containers: [{name: main, image: "localhost/step:v0.0.2-e2e", args: ["location=s3://logs/$(NODE_NAME)"]}]}}
- name: inventory
  plugin: netbox
  dependsOn: [volumes]
  options: {url: URL/netbox, token: {secretKeyRef: {name: library, key: netbox}}}
- name: records
  plugin: cmdb
  critical: false
  dependsOn: [volumes]
  options:
    url: URL/cmdb
    headers: {Authorization: {secretKeyRef: {name: library, key: cmdb}}}
    lookup: {path: "machines?name=${node.name}", results: /results, match: {/name: "${node.name}"}}
    change: {path: "machines/{id}", body: '{"state": "retired"}'}
- name: change-event
  plugin: pagerduty
  dependsOn: [volumes]
  options: {url: URL/pagerduty, routingKey: {secretKeyRef: {name: library, key: pagerduty}}}
- name: hand-over
  plugin: http
  critical: false
  dependsOn: [archive, open-incident]
  options:
    url: URL/inventory/${node.name}
    headers: {Authorization: {secretKeyRef: {name: library, key: inventory}}}
    body: '{"archive": "${steps.archive.outputs.location}", "incident": "${steps.open-incident.outputs.number}"}'
- name: close-incident
  plugin: servicenow
  dependsOn: [open-incident, drain]
  options: {url: URL/servicenow, record: incident, action: close, closeCode: Solved, apiKey: {secretKeyRef: {name: library, key: servicenow}}}
- name: mark-end
  plugin: grafana
  dependsOn: [mark-begin, drain]
  options: {url: URL/grafana, action: end, token: {secretKeyRef: {name: library, key: grafana}}}
- name: end-silence
  plugin: alertmanager
  dependsOn: [silence, drain]
  options: {url: ALERTMANAGER, action: expire, gracePeriod: 0s}
`

const libraryNamespace = "node-library"

// TestTwelvePluginsOnOneNode cleans up a Node with one config that uses most of the plugins.
func TestTwelvePluginsOnOneNode(t *testing.T) {
	alertmanager, services := startAlertmanager(t), newServices(t)
	if err := real.Load(t.Context(), root, node.Image{Module: root, Package: "./test/e2e/step", Repository: stepRepository, Version: newVersion}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{libraryNamespace, api.Namespace} {
		if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := client.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), libraryNamespace, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "library"}, StringData: map[string]string{
		"slack": services.URL + "/slack/" + secretOf("slack"), "inventory": "Bearer " + secretOf("inventory"),
	}}
	for _, name := range []string{"grafana", "servicenow", "netbox", "cmdb", "pagerduty"} {
		secret.StringData[name] = secretOf(name)
	}
	if _, err := client.CoreV1().Secrets(api.Namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := write(t, "config.yaml", strings.NewReplacer("webhookURL", "webhookURL", "URL", services.URL, "ALERTMANAGER", alertmanager).Replace(librarySettings))
	prove(t, "library",
		part{"an agent has the rights for twelve plugins, and each is healthy", func(t *testing.T) {
			run(t, exit.OK, "install", "--wait", "--image", repository+":"+newVersion, "--config", config)
			run(t, exit.OK, "preflight")
		}},
		part{"one deletion runs all of them", func(t *testing.T) {
			made, err := makeNode(t.Context(), "library-1", metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			plan := run(t, exit.OK, "plan", made.Name)
			for _, want := range []string{"silence", "open", "decommissioning", libraryNamespace + "/archive-"} {
				if !strings.Contains(strings.ToLower(plan), want) {
					t.Errorf("the plan lacks %s", want)
				}
			}
			deleteNode(t, made.Name)
			eventually(t, "node library-1 is deleted", isDeleted(made.Name))
			record, err := cluster.RunOf(t.Context(), client, api.Namespace, made)
			if err != nil || record == nil || record.State != api.Succeeded {
				t.Fatalf("the run record: %+v, %v", record, err)
			}
			for _, step := range record.Steps {
				if step.State != api.StepSucceeded {
					t.Errorf("step %s is %s: %s", step.Name, step.State, step.LastError)
				}
			}
			if location, number := record.Step("archive").Outputs["location"], record.Step("open-incident").Outputs["number"]; location != "s3://logs/library-1" || number != "INC0000001" {
				t.Errorf("the outputs are %q and %q", location, number)
			}
			want := []string{"cmdb", "grafana", "inventory", "netbox", "pagerduty", "servicenow", "slack"}
			if got := services.changed(); !slices.Equal(got, want) {
				t.Errorf("changed are %q, want %q", got, want)
			}
			if states := silences(t, alertmanager, "library-1"); !slices.Equal(states, []string{"expired"}) {
				t.Errorf("the silences are %q", states)
			}
			wantNoSecret(t, made.Name)
		}},
		part{"no service that fails and repeats the request exposes a secret", func(t *testing.T) {
			services.fail()
			made, err := makeNode(t.Context(), "library-2", metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			deleteNode(t, made.Name)
			eventually(t, "node library-2 is deleted", isDeleted(made.Name)) // Only optional steps fail.
			record, err := cluster.RunOf(t.Context(), client, api.Namespace, made)
			if err != nil || record == nil {
				t.Fatalf("the run record: %v, %v", record, err)
			}
			failed := 0
			for _, step := range record.Steps {
				if step.State == api.StepFailed {
					failed++
				}
			}
			if failed < 8 {
				t.Errorf("%d steps have failed: %+v", failed, record.Steps)
			}
			wantNoSecret(t, made.Name)
		}},
		part{"uninstall leaves the namespace that was there before, and nothing else", func(t *testing.T) {
			run(t, exit.OK, "uninstall", "--yes")
			wantNothingLeft(t)
			kubectl(t, "delete", "namespace", api.Namespace) // Install did not create it.
		}},
	)
}

// wantNoSecret searches for a secret where people without access to Secrets can read.
func wantNoSecret(t *testing.T, node string) {
	t.Helper()
	places := map[string]string{
		"objects": kubectl(t, "get", "nodes,events,configmaps,pods,jobs,leases,deployments", "--all-namespaces", "--output", "yaml"),
	}
	for _, pod := range agents(t) {
		places["log of "+pod.Name] = kubectl(t, "logs", "--namespace", api.Namespace, pod.Name)
	}
	for _, arguments := range [][]string{
		{"status", "-o", "yaml"}, {"history", "-o", "yaml"}, {"plugins", "status", "-o", "yaml"}, {"config", "view"}, {"diagnose", node},
	} {
		var out bytes.Buffer // Their exit code says how the cleanups are, which does not matter here.
		_ = cli.Execute(t.Context(), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}, append(arguments, "--kubeconfig", shared.Kubeconfig()))
		places[fmt.Sprint(arguments)] = out.String()
	}
	for place, text := range places {
		if len(text) == 0 {
			t.Errorf("%s: empty", place)
		}
		if i := strings.Index(text, canary); i >= 0 {
			t.Errorf("%s: a secret: %s", place, text[max(0, i-200):min(len(text), i+60)])
		}
	}
}
