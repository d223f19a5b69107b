package agreement_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

func TestDefaultManifestsAgree(t *testing.T) {
	want := fromChart(t, render.Options{})
	t.Run("kustomize build manifests/base", func(t *testing.T) { wantSame(t, fromKustomize(t, manifests+"/base"), want) })
	t.Run("kubectl nodecleanup install", func(t *testing.T) { wantSame(t, fromCLI(t), want) })
	t.Run("the config is identical", func(t *testing.T) {
		for name, other := range map[string]objects{"kustomize": fromKustomize(t, manifests+"/base"), "the CLI": fromCLI(t)} {
			if got, want := configOf(other), configOf(want); got != want {
				t.Errorf("%s has the config\n%s\nand Helm\n%s", name, got, want)
			}
		}
	})
}

func configOf(all objects) string {
	written, _, _ := unstructured.NestedString(all["ConfigMap/"+api.ConfigName].Object, "data", api.ConfigKey)
	return written
}

// everything is a config with every field of docs/config.md and docs/guard.md.
const everything = `
dryRun: true
nodeSelector:
  matchLabels: {pool: batch}
  matchExpressions: [{key: zone, operator: In, values: [a, b]}]
concurrency: {nodes: 20, stepsPerNode: 2, evictions: 30}
deadline: {after: 2h, action: Release}
history: {maxAge: 48h, maxRuns: 2000000}
retry: {maxRetries: 3, initialDelay: 1s, maxDelay: 1m30s, backoffFactor: 1.5, jitter: 0.25}
guard:
  enabled: true
  criticalPods: [{namespaces: [shop], selector: {matchLabels: {tier: db}}}]
  controlPlane: refuse
  lastSchedulable: refuse
  maxTerminating: 10%
  exempt: {users: ["system:serviceaccount:kube-system:node-controller"], groups: [autoscalers]}
  onReadError: refuse
jobs: [{namespace: node-jobs, serviceAccounts: [archiver]}]
windows: [{schedule: "0 2 * * 1-5", duration: 4h, timeZone: Europe/Berlin}]
brake:
  maxTerminating: 20%
  apiServerErrors: {percent: 50, over: 2m}
  alerts: {url: "http://prometheus.monitoring:9090", names: [KubeAPIErrorBudgetBurn], bearerToken: {secretKeyRef: {name: prometheus, key: token}}}
  releaseAfter: 15m
notifications:
- name: ops
  plugin: http
  events: [Failed, Blocked]
  nodeSelector: {matchLabels: {pool: batch}}
  groupWait: 1m
  repeatInterval: 8h
  options:
    url: {secretKeyRef: {name: chat, key: url}}
    body: '{"text": "${notification.text}"}'
steps:
- name: drain
  plugin: drain
  critical: true
  timeout: 30m
  totalTimeout: 2h
  priority: 10
- name: inventory
  plugin: http
  critical: false
  dependsOn: [drain]
  nodeSelector: {matchLabels: {pool: batch}}
  retry: {maxRetries: 10, initialDelay: 2s, maxDelay: 10s, backoffFactor: 2, jitter: 0}
  options:
    url: {secretKeyRef: {name: inventory, key: url}}
- name: archive
  plugin: job
  dependsOn: [drain]
  options:
    namespace: node-jobs
    serviceAccountName: archiver
    outputs: [archive]
    template:
      metadata: {labels: {team: platform}}
      spec:
        containers: [{name: main, image: "registry.example/archive:1", env: [{name: POOL, value: "${node.labels['pool']}"}]}]
`

// Of each flag of install, the values of the chart that mean the same.
func TestEachFlagIsAValue(t *testing.T) {
	config := write(t, "config.yaml", "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"+everything)
	callers := t.TempDir()
	kubectl(t, "webhook-auth", "generate", "--output-dir", callers)
	tests := []struct {
		flags  []string
		values string
		render.Options
	}{
		{flags: []string{"--namespace=elsewhere"}, Options: render.Options{Namespace: "elsewhere"}},
		{flags: []string{"--namespace=007"}, Options: render.Options{Namespace: "007"}},
		{flags: []string{"--image=registry.example:5000/agent:v9"}, values: "image: {repository: 'registry.example:5000/agent', tag: v9}"},
		{
			flags:  []string{"--image=registry.example/agent@sha256:" + strings.Repeat("ab", 32)},
			values: "image: {repository: registry.example/agent, tag: ignored, digest: 'sha256:" + strings.Repeat("ab", 32) + "'}",
		},
		{flags: []string{"--replicas=3"}, values: "replicas: 3"},
		{flags: []string{"--config=" + config}, values: "config:" + strings.ReplaceAll(everything, "\n", "\n  ")},
		{flags: []string{"--admission=auto"}, values: "admission: auto"},
		{flags: []string{"--admission=webhook"}, values: "admission: webhook"},
		// What auto comes to on a server that has no policies.
		{flags: []string{"--admission=webhook"}, values: "admission: auto", Options: render.Options{KubeVersion: "v1.35.9"}},
		{flags: []string{"--admission=policy"}, values: "admission: policy"},
		{flags: []string{"--admission=policy"}, values: "admission: policy", Options: render.Options{KubeVersion: "v1.35.9"}},
		{flags: []string{"--agent-url=https://127.0.0.1:9443"}, values: "agentURL: https://127.0.0.1:9443"},
		{flags: []string{"--agent-url=https://127.0.0.1:9443/"}, values: "agentURL: https://127.0.0.1:9443/"},
		{flags: []string{"--set=failurePolicy=Fail"}, values: "failurePolicy: Fail"},
		{flags: []string{"--set=webhookTimeoutSeconds=7"}, values: "webhookTimeoutSeconds: 7"},
		{flags: []string{"--set=guard.failurePolicy=Fail"}, values: "guard: {failurePolicy: Fail}"},
		{flags: []string{"--set=guard.timeoutSeconds=9"}, values: "guard: {timeoutSeconds: 9}"},
		{flags: []string{"--set=resources.requests.cpu=33m"}, values: "resources: {requests: {cpu: 33m}}"},
		{flags: []string{"--set=resources.requests.memory=77Mi"}, values: "resources: {requests: {memory: 77Mi}}"},
		{flags: []string{"--set=resources.limits.memory=777Mi"}, values: "resources: {limits: {memory: 777Mi}}"},
		{flags: []string{"--set=imagePullPolicy=Never"}, values: "imagePullPolicy: Never"},
		{flags: []string{"--set=priorityClassName=system-node-critical"}, values: "priorityClassName: system-node-critical"},
		{flags: []string{"--set=nodeSelector.pool=system"}, values: "nodeSelector: {pool: system}"},
		{flags: []string{"--set=podSecurityContext.runAsUser=null"}, values: "podSecurityContext: {runAsUser: null}"},
		{flags: []string{"--set=securityContext.runAsUser=4711"}, values: "securityContext: {runAsUser: 4711}"},
		{flags: []string{"--set=hostNetwork=true"}, values: "hostNetwork: true"},
		{flags: []string{"--set=ports.webhook=10443"}, values: "ports: {webhook: 10443}"},
		{flags: []string{"--set=ports.probes=10081"}, values: "ports: {probes: 10081}"},
		{flags: []string{"--set=ports.metrics=10080"}, values: "ports: {metrics: 10080}"},
		{flags: []string{"--kustomize=" + filepath.Join(callers, "agent")}, values: "webhookCallers: {clientCA: " + quoted(t, filepath.Join(callers, "ca.crt")) + "}"},
	}
	used := map[string]bool{}
	for _, test := range tests {
		t.Run(strings.Join(test.flags, " "), func(t *testing.T) {
			flag, value, _ := strings.Cut(strings.TrimPrefix(test.flags[0], "--"), "=")
			used[flag] = true
			if flag == "set" {
				used["set "+value[:strings.LastIndex(value, "=")]] = true
			}
			test.Values = parse(t, test.values)
			got := fromChart(t, test.Options)
			if flag == "kustomize" {
				wantSame(t, got, fromKustomization(t, value))
				return
			}
			wantSame(t, got, fromCLI(t, test.flags...))
		})
	}
	installCommand(t).VisitAll(func(flag *pflag.Flag) {
		// These say how to go about it, not what is installed.
		how := []string{"allow-downgrade", "diff", "dry-run", "force-conflicts", "help", "output", "reset-values", "timeout", "wait"}
		if !used[flag.Name] && !slices.Contains(how, flag.Name) {
			t.Errorf("no value of the chart is compared with --%s", flag.Name)
		}
	})
	for _, name := range install.SettingNames() {
		if !used["set "+strings.NewReplacer("LABEL", "pool", "FIELD", "runAsUser").Replace(name)] {
			t.Errorf("no value of the chart is compared with --set %s", name)
		}
	}
}

// fromKustomization is install -k, with the library in place of the operator's kubectl.
func fromKustomization(t *testing.T, folder string) objects {
	t.Helper()
	rendered, err := install.Render(t.Context(), install.Options{Kustomization: folder, Build: build})
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, object := range rendered {
		all.WriteString(text(t, object) + "---\n")
	}
	return decode(t, []byte(all.String()))
}

// installCommand returns the flags of install, without those of every command.
func installCommand(t *testing.T) *pflag.FlagSet {
	t.Helper()
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	found, _, err := cli.New(command.NewEnvironment(streams)).Find([]string{"install"})
	if err != nil {
		t.Fatal(err)
	}
	return found.LocalFlags()
}

func quoted(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return `"` + strings.ReplaceAll(string(content), "\n", `\n`) + `"`
}
