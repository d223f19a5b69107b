package job

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func targetOf(node *corev1.Node) cleanup.Target {
	return cleanup.Target{
		Node: node, Step: "archive", DeletedBy: "ops@example.com", Attempt: 3, Began: start, IdempotencyKey: string(node.UID) + "/archive",
		Outputs: map[string]map[string]string{"open": {"number": "4711"}},
	}
}

func node() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "worker-1", UID: "8d0a",
			Labels:      map[string]string{corev1.LabelTopologyZone: "zone-a", "team": "shop"},
			Annotations: map[string]string{"evil": "$(TOKEN) $HOME"},
		},
		Spec: corev1.NodeSpec{ProviderID: "aws:///zone-a/i-1"},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}, {Type: corev1.NodeInternalIP, Address: "fd00::7"}, {Type: corev1.NodeHostName, Address: "worker-1"},
		}},
	}
}

// bind returns a plugin with these options, as JSON.
func bind(t *testing.T, options string) *plugin {
	t.Helper()
	bound, faults := Descriptor(nil, nil, "ns").Bind([]byte(options))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return bound.(*plugin)
}

func buildFor(t *testing.T, p *plugin, target cleanup.Target, number int) *batchv1.Job {
	t.Helper()
	job, err := p.build(&p.Template, target, number, 90*time.Second, func(template cleanup.Template) (string, error) { return template.Expand(target, literal) })
	if err != nil {
		t.Fatal(err)
	}
	return job
}

const oneContainer = `{"namespace": "ops", "template": {"spec": {"containers": [{"name": "main", "image": "a"}]}}}`

func TestJobOfAStep(t *testing.T) {
	p := bind(t, `{"namespace": "ops", "serviceAccountName": "archiver", "ttl": "2h", "template": {
		"metadata": {"labels": {"team": "platform"}},
		"spec": {"serviceAccount": "archiver", "initContainers": [{"name": "first", "image": "a"}], "containers": [{"name": "main", "image": "a", "args": ["$(TICKET)"], "env": [
			{"name": "TICKET", "value": "T-${steps.open.outputs.number}"},
			{"name": "EVIL", "value": "${node.annotations['evil']} $(TICKET)"},
			{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
		]}]}}}`)
	job := buildFor(t, p, targetOf(node()), 2)
	if job.Namespace != "ops" || !strings.HasPrefix(job.Name, "archive-") || !strings.HasSuffix(job.Name, "-2") {
		t.Errorf("the job is %s/%s", job.Namespace, job.Name)
	}
	spec := job.Spec
	if *spec.BackoffLimit != 0 || *spec.ActiveDeadlineSeconds != 90 || *spec.TTLSecondsAfterFinished != 7200 || *spec.PodReplacementPolicy != batchv1.Failed {
		t.Errorf("the spec is %+v", spec)
	}
	if rule := spec.PodFailurePolicy.Rules[0]; rule.Action != batchv1.PodFailurePolicyActionIgnore || rule.OnPodConditions[0].Type != corev1.DisruptionTarget {
		t.Errorf("the pod failure policy is %+v", rule)
	}
	pod := spec.Template
	if pod.Labels["team"] != "platform" || pod.Labels[labelKey] != job.Labels[labelKey] || pod.Labels[labelKey] == "" {
		t.Errorf("the labels of the Pod are %v, of the Job %v", pod.Labels, job.Labels)
	}
	if pod.Spec.RestartPolicy != corev1.RestartPolicyNever || pod.Spec.ServiceAccountName != "archiver" || pod.Spec.DeprecatedServiceAccount != "" {
		t.Errorf("the Pod is %+v", pod.Spec)
	}
	want := map[string]string{
		"NODE_NAME": "worker-1", "NODE_UID": "8d0a", "NODE_PROVIDER_ID": "aws:///zone-a/i-1", "NODE_INTERNAL_IP": "10.0.0.7", "NODE_EXTERNAL_IP": "",
		"NODE_HOSTNAME": "worker-1", "NODE_ZONE": "zone-a", "NODE_REGION": "", "DELETED_BY": "ops@example.com", "STEP_NAME": "archive", "ATTEMPT": "3",
		"IDEMPOTENCY_KEY": "8d0a/archive",
	}
	if got := variables(pod.Spec.InitContainers[0]); !reflect.DeepEqual(got, want) {
		t.Errorf("the variables of the init container are %v, want %v", got, want)
	}
	// What the kubelet reads as $(TOKEN) would be the value of the Secret.
	want["TICKET"], want["EVIL"], want["TOKEN"] = "T-4711", "$$(TOKEN) $$HOME $(TICKET)", ""
	if got := variables(pod.Spec.Containers[0]); !reflect.DeepEqual(got, want) {
		t.Errorf("the variables are %v, want %v", got, want)
	}
	if len(p.Template.Spec.Containers[0].Env) != 3 || p.Template.Spec.Affinity != nil {
		t.Error("the template of the options was changed")
	}
}

func variables(container corev1.Container) map[string]string {
	values := map[string]string{}
	for _, variable := range container.Env {
		values[variable.Name] = variable.Value
	}
	return values
}

func TestJobNeedsTheOutputsThatItRefersTo(t *testing.T) {
	p := bind(t, `{"namespace": "ops", "template": {"spec": {"containers": [{"name": "main", "image": "a", "env": [{"name": "A", "value": "${steps.open.outputs.url}"}]}]}}}`)
	target := targetOf(node())
	_, err := p.build(&p.Template, target, 1, time.Minute, func(template cleanup.Template) (string, error) { return template.Expand(target, literal) })
	if err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "variable A of container main: expanding ${steps.open.outputs.url}") {
		t.Errorf("the error is %v", err)
	}
}

func TestNamesOfJobs(t *testing.T) {
	long := strings.Repeat("a", 29) + "-" + strings.Repeat("b", 33)
	names := []string{nameOf("a", "uid/a", 1), nameOf("a", "uid/a", 2), nameOf("a", "other/a", 1), nameOf(long, "uid/"+long, 1000)}
	for i, name := range names {
		if len(name) > 57 || strings.Contains(name, "--") || slices.Contains(names[:i], name) {
			t.Errorf("the name is %q, others %v", name, names[:i])
		}
	}
}

func TestDeadlines(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		10 * time.Minute: 10*time.Minute - 45*time.Second, time.Minute: 45 * time.Second, 2 * time.Second: 5 * time.Second, 20*time.Second + time.Millisecond: 15 * time.Second,
	} {
		if got := deadlineOf(left); got != want {
			t.Errorf("with %s left, the deadline is %s, want %s", left, got, want)
		}
	}
}

func TestWhereThePodRuns(t *testing.T) {
	mine := func(operator corev1.NodeSelectorOperator) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: "metadata.name", Operator: operator, Values: []string{"worker-1"}}
	}
	zone := corev1.NodeSelectorRequirement{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}}
	arch := corev1.NodeSelectorRequirement{Key: "arch", Operator: corev1.NodeSelectorOpExists}
	affinity := func(terms ...corev1.NodeSelectorTerm) *corev1.Affinity {
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms}}}
	}
	fields := func(requirements ...corev1.NodeSelectorRequirement) []corev1.NodeSelectorRequirement {
		return requirements
	}
	for name, test := range map[string]struct {
		given *corev1.Affinity
		on    bool
		want  []corev1.NodeSelectorTerm
	}{
		"elsewhere":   {nil, false, []corev1.NodeSelectorTerm{{MatchFields: fields(mine(corev1.NodeSelectorOpNotIn))}}},
		"on the node": {nil, true, []corev1.NodeSelectorTerm{{MatchFields: fields(mine(corev1.NodeSelectorOpIn))}}},
		"preferred only": {
			&corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1}}}}, false,
			[]corev1.NodeSelectorTerm{{MatchFields: fields(mine(corev1.NodeSelectorOpNotIn))}},
		},
		"each term": {
			affinity(corev1.NodeSelectorTerm{MatchExpressions: fields(zone)}, corev1.NodeSelectorTerm{MatchExpressions: fields(arch)}), false,
			[]corev1.NodeSelectorTerm{
				{MatchExpressions: fields(zone), MatchFields: fields(mine(corev1.NodeSelectorOpNotIn))},
				{MatchExpressions: fields(arch), MatchFields: fields(mine(corev1.NodeSelectorOpNotIn))},
			},
		},
		"a term that matches nothing": {affinity(corev1.NodeSelectorTerm{}), false, []corev1.NodeSelectorTerm{{}}},
	} {
		pod := corev1.PodSpec{Affinity: test.given, Tolerations: []corev1.Toleration{{Key: "own"}}}
		place(&pod, "worker-1", test.on)
		if got := pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms; !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: the terms are %+v, want %+v", name, got, test.want)
		}
		if tolerates := slices.ContainsFunc(pod.Tolerations, func(one corev1.Toleration) bool { return one.Key == "" && one.Operator == corev1.TolerationOpExists }); tolerates != test.on {
			t.Errorf("%s: the tolerations are %+v", name, pod.Tolerations)
		}
	}
}
