package agreement_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/engine"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// printed is, of each value, another one than the default.
var printed = map[string]string{
	"image.repository": "registry.example/agent", "image.tag": "v9", "image.digest": "sha256:" + strings.Repeat("ab", 32),
	"imagePullPolicy": "Never", "imagePullSecrets": "[{name: registry}]",
	"replicas": "3", "resources.requests.cpu": "33m", "resources.requests.memory": "77Mi", "resources.limits.memory": "777Mi",
	"podSecurityContext.runAsNonRoot": "null", "podSecurityContext.runAsUser": "1001", "podSecurityContext.runAsGroup": "null", "podSecurityContext.seccompProfile.type": "Unconfined",
	"securityContext.allowPrivilegeEscalation": "null", "securityContext.readOnlyRootFilesystem": "false", "securityContext.capabilities.drop": "[NET_RAW]",
	"hostNetwork": "true", "ports.webhook": "10443", "ports.probes": "10081", "ports.metrics": "10080",
	"priorityClassName": "system-node-critical", "nodeSelector": "{pool: system}", "affinity": "{nodeAffinity: {}}", "tolerations": "[]",
	"topologySpreadConstraints": "[]", "admission": "webhook", "failurePolicy": "Fail", "webhookTimeoutSeconds": "7",
	"guard.failurePolicy": "Fail", "guard.timeoutSeconds": "9", "agentURL": "https://127.0.0.1:9443",
	"config.guard.controlPlane": "refuse", "config.guard.lastSchedulable": "refuse", "config.steps": "[{name: only, plugin: logger}]",
	"secrets":                 "{inventory: {url: 'https://inventory.example'}}",
	"webhookCallers.clientCA": "'-----BEGIN CERTIFICATE-----'", "webhookCallers.subjects": "[apiserver]", "webhookCallers.sourceCIDRs": "[10.0.0.0/8]",
	"certManager.enabled": "true", "certManager.issuerRef": "{kind: ClusterIssuer, name: corporate}",
	"podDisruptionBudget.enabled": "false", "flowSchemas.enabled": "false",
	"autoscaling.enabled": "true", "autoscaling.minReplicas": "4", "autoscaling.maxReplicas": "9", "autoscaling.targetCPUUtilizationPercentage": "55",
	"networkPolicy.enabled": "true", "networkPolicy.webhookFrom": "[{podSelector: {}}]", "networkPolicy.metricsFrom": "[{namespaceSelector: {}}]", "networkPolicy.egress": "[{}]",
	"podMonitor.enabled": "true", "podMonitor.interval": "45s", "podMonitor.labels": "{release: main}",
	"serviceMonitor.enabled": "true", "serviceMonitor.interval": "45s", "serviceMonitor.labels": "{release: main}",
	"prometheusRule.enabled": "true", "prometheusRule.labels": "{release: main}",
	"podLabels": "{team: infra}", "podAnnotations": "{team: infra}", "extraArgs": "[--lease-duration=30s]", "extraEnv": "[{name: HTTPS_PROXY, value: proxy}]",
	"cli.image.repository": "registry.example/cli", "cli.image.tag": "v9", "cli.image.digest": "sha256:" + strings.Repeat("cd", 32),
	"uninstall.enabled": "false", "uninstall.force": "true", "uninstall.keepHistory": "true", "uninstall.timeout": "90s",
	"extraVolumes": "[{name: more, emptyDir: {}}]", "extraVolumeMounts": "[{name: more, mountPath: /more}]",
}

// needs is what has to be on for a value to be read.
var needs = map[string]string{
	"autoscaling.": "autoscaling.enabled", "networkPolicy.": "networkPolicy.enabled", "podMonitor.": "podMonitor.enabled",
	"serviceMonitor.": "serviceMonitor.enabled", "prometheusRule.": "prometheusRule.enabled", "certManager.issuerRef": "certManager.enabled", "webhookCallers.subjects": "webhookCallers.clientCA",
}

func TestEveryValueIsRead(t *testing.T) {
	for _, name := range leaves(parse(t, read(t, chart+"/values.yaml")), "") {
		value, known := printed[name]
		if !known {
			t.Errorf("this test has no other value for %s", name)
			continue
		}
		before := map[string]any{}
		for prefix, needed := range needs {
			if strings.HasPrefix(name, prefix) && name != needed {
				set(before, needed, parse(t, "v: "+printed[needed])["v"])
			}
		}
		after := map[string]any{}
		for prefix, needed := range needs {
			if strings.HasPrefix(name, prefix) && name != needed {
				set(after, needed, parse(t, "v: "+printed[needed])["v"])
			}
		}
		set(after, name, parse(t, "v: "+value)["v"])
		// What only the hooks read shows on a cluster.
		if maps.Equal(files(t, before, nil), files(t, after, nil)) && maps.Equal(files(t, before, onCluster{}), files(t, after, onCluster{})) {
			t.Errorf("%s: %s changes nothing", name, value)
		}
	}
}

func files(t *testing.T, values map[string]any, cluster engine.ClientProvider) map[string]string {
	t.Helper()
	rendered, err := render.Chart(chart, render.Options{Values: values, Cluster: cluster})
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

// leaves returns the dotted names of values that hold no further ones.
func leaves(values map[string]any, prefix string) []string {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if below, is := values[key].(map[string]any); is && len(below) > 0 {
			names = append(names, leaves(below, prefix+key+".")...)
			continue
		}
		names = append(names, prefix+key)
	}
	return names
}

func set(values map[string]any, name string, value any) {
	first, rest, more := strings.Cut(name, ".")
	if !more {
		values[first] = value
		return
	}
	below, is := values[first].(map[string]any)
	if !is {
		below = map[string]any{}
		values[first] = below
	}
	set(below, rest, value)
}

func TestWrongValuesAreRefused(t *testing.T) {
	for name, test := range map[string]struct{ values, says string }{
		"unknown":                  {"replica: 3", "replica"},
		"unknown nested field":     {"image: {name: x}", "name"},
		"not a number":             {"replicas: many", "replicas"},
		"no replicas":              {"replicas: 0", "replicas"},
		"pull policy":              {"imagePullPolicy: Sometimes", "imagePullPolicy"},
		"admission":                {"admission: both", "admission"},
		"failure policy":           {"failurePolicy: Allow", "failurePolicy"},
		"timeout too long":         {"webhookTimeoutSeconds: 31", "webhookTimeoutSeconds"},
		"agent URL":                {"agentURL: http://127.0.0.1", "agentURL"},
		"agent URL with a path":    {"agentURL: https://127.0.0.1/x", "agentURL"},
		"digest":                   {"image: {digest: latest}", "digest"},
		"quantity":                 {"resources: {limits: {memory: lots}}", "memory"},
		"no steps":                 {"config: {steps: []}", "steps"},
		"step without plugin":      {"config: {steps: [{name: drain}]}", "plugin"},
		"misspelled step field":    {"config: {steps: [{name: drain, plugin: drain, critcal: true}]}", "critcal"},
		"unknown option":           {"config: {steps: [{name: drain, plugin: drain, options: {forcAfter: 5m}}]}", "forcAfter"},
		"option of a type":         {"config: {steps: [{name: drain, plugin: drain, options: {forceAfter: 5}}]}", "forceAfter"},
		"missing option":           {"config: {steps: [{name: call, plugin: http}]}", "options"},
		"duration":                 {"config: {steps: [{name: drain, plugin: drain, timeout: 30}]}", "timeout"},
		"duration without unit":    {"config: {deadline: {after: '30'}}", "after"},
		"deadline action":          {"config: {deadline: {action: hold}}", "action"},
		"guard answer":             {"config: {guard: {controlPlane: maybe}}", "controlPlane"},
		"selector":                 {"config: {nodeSelector: {pool: batch}}", "pool"},
		"apiVersion in config":     {"config: {apiVersion: nodecleanup.io/v1alpha1}", "apiVersion"},
		"a field of the pod":       {"podSecurityContext: {runAsUsr: 1}", "runAsUsr"},
		"a field of containers":    {"securityContext: {fsGroup: 1}", "fsGroup"},
		"privileged port":          {"ports: {webhook: 443}", "webhook"},
		"affinity":                 {"affinity: {nodeAfinity: {}}", "nodeAfinity"},
		"toleration":               {"tolerations: [{key: x, efect: NoSchedule}]", "efect"},
		"spread":                   {"topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, minDomain: 2}]", "minDomain"},
		"claim":                    {"resources: {claims: [{nam: gpu}]}", "nam"},
		"peer":                     {"networkPolicy: {webhookFrom: [{podSelctor: {}}]}", "podSelctor"},
		"peer's selector":          {"networkPolicy: {metricsFrom: [{podSelector: {matchLabel: {a: b}}}]}", "matchLabel"},
		"egress":                   {"networkPolicy: {egress: [{port: 443}]}", "port"},
		"egress's port":            {"networkPolicy: {egress: [{ports: [{prt: 443}]}]}", "prt"},
		"variable":                 {"extraEnv: [{name: X, valu: y}]", "valu"},
		"variable's source":        {"extraEnv: [{name: X, valueFrom: {secretKeyRef: {name: s, kee: k}}}]", "kee"},
		"volume without source":    {"extraVolumes: [{name: more}]", "extraVolumes"},
		"mount":                    {"extraVolumeMounts: [{name: more, mountpath: /more}]", "mountpath"},
		"issuer without name":      {"certManager: {issuerRef: {kind: ClusterIssuer}}", "issuerRef"},
		"own selector":             {"topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}]", "topologySpreadConstraints"},
		"secret that is not a map": {"secrets: {inventory: 'https://inventory.example'}", "inventory"},
		"private key as CA":        {"webhookCallers: {clientCA: \"-----BEGIN CERTIFICATE-----\\n-----BEGIN PRIVATE KEY-----\"}", "clientCA"},
		"flag":                     {"extraArgs: [lease-duration=30s]", "extraArgs"},
		"newline in a tag":         {"image: {tag: \"v1\\nb: c\"}", "/image/tag"},
		"newline in a class":       {"priorityClassName: \"a\\nb: c\"", "/priorityClassName"},
		"newline in a secret":      {"secrets: {\"a\\nb\": {c: d}}", "/secrets"},
		"label of the chart":       {"podLabels: {app.kubernetes.io/name: other}", "/podLabels"},
		"label of a monitor":       {"podMonitor: {labels: {app.kubernetes.io/part-of: other}}", "/podMonitor/labels"},
		"label value":              {"podLabels: {team: 'a b'}", "/podLabels/team"},
		"variable of the chart":    {"extraEnv: [{name: POD_NAME, value: x}]", "/extraEnv/0/name"},
		"no image":                 {"image: null", "'image'"},
		"no replicas at all":       {"replicas: null", "'replicas'"},
		"no guard":                 {"guard: {timeoutSeconds: null}", "timeoutSeconds"},
		"too many replicas":        {"replicas: 1e+20", "/replicas"},
		"user":                     {"podSecurityContext: {runAsUser: 1e+20}", "/runAsUser"},
		"min above max":            {"autoscaling: {enabled: true, minReplicas: 6}", "autoscaling.minReplicas (6) must not be greater than autoscaling.maxReplicas (5)"},
		"same ports":               {"ports: {webhook: 8080}", "webhook (8080)"},
		"network":                  {"webhookCallers: {sourceCIDRs: [x]}", "/webhookCallers/sourceCIDRs/0"},
		"network of 6 bytes":       {"webhookCallers: {sourceCIDRs: ['10.0.0.0.0.0/8']}", "/webhookCallers/sourceCIDRs/0"},
		"network of IPv6":          {"webhookCallers: {sourceCIDRs: ['2001:db8:::/32']}", "/webhookCallers/sourceCIDRs/0"},
		"peer's network":           {"networkPolicy: {webhookFrom: [{ipBlock: {cidr: 10.0.0.0}}]}", "/ipBlock/cidr"},
		"two peers in one":         {"networkPolicy: {webhookFrom: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}", "/webhookFrom/0"},
		"quantity of dots":         {"resources: {limits: {memory: 1.2.3}}", "/resources/limits/memory"},
		"kind of volume":           {"extraVolumes: [{name: more, emptyDirectory: {}}]", "emptyDirectory"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render.Chart(chart, render.Options{Values: parse(t, test.values)})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want one that names %q", err, test.says)
			}
		})
	}
}

func TestLint(t *testing.T) {
	all := map[string]any{}
	for _, name := range []string{"certManager", "networkPolicy", "podMonitor", "serviceMonitor", "prometheusRule", "autoscaling"} {
		set(all, name+".enabled", true)
	}
	values := map[string]map[string]any{"default": {}, "all on": all}
	for _, folder := range folders(t, manifests+"/overlays") {
		values[filepath.Base(folder)] = readValues(t, filepath.Join(folder, "values.yaml"))
	}
	version, err := common.ParseKubeVersion(render.Newest)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range values {
		t.Run(name, func(t *testing.T) {
			for _, message := range lint.RunAll(chart, values, api.Namespace, lint.WithKubeVersion(version)).Messages {
				if message.Severity > support.InfoSev {
					t.Error(message)
				}
			}
		})
	}
}
