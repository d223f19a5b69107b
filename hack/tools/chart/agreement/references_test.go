package agreement_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// everythingOn are values with every object that refers to another one.
const everythingOn = `{autoscaling: {enabled: true}, networkPolicy: {enabled: true}, podMonitor: {enabled: true}, serviceMonitor: {enabled: true}}`

// An object that refers to one that is not there is taken by every API server, and does nothing.
func TestReferencedObjectsExist(t *testing.T) {
	all := fromChart(t, render.Options{Values: parse(t, everythingOn)})
	var agent appsv1.Deployment
	convert(t, all["Deployment/"+api.Agent].Object, &agent)
	pod := agent.Spec.Template
	container := pod.Spec.Containers[0]
	of := func(port string) *corev1.ContainerPort {
		for i := range container.Ports {
			if container.Ports[i].Name == port {
				return &container.Ports[i]
			}
		}
		return nil
	}
	wantPod := func(t *testing.T, selector *metav1.LabelSelector) {
		t.Helper()
		chosen, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || chosen.Empty() || !chosen.Matches(labels.Set(pod.Labels)) {
			t.Errorf("%v chooses not the agents, whose labels are %v: %v", selector, pod.Labels, err)
		}
	}
	wantPort := func(t *testing.T, port intstr.IntOrString) {
		t.Helper()
		if of(port.StrVal) == nil {
			t.Errorf("no port of the agent is named %q", port.String())
		}
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		object := all[name]
		t.Run(name, func(t *testing.T) {
			want := agent.Namespace
			if object.GetName() == api.AgentEvents {
				want = metav1.NamespaceDefault // Events about Nodes are there.
			}
			if namespace := object.GetNamespace(); namespace != "" && namespace != want {
				t.Errorf("it is in namespace %q, want %q", namespace, want)
			}
			seen[object.GetKind()] = true
			switch object.GetKind() {
			case "Deployment":
				wantPod(t, agent.Spec.Selector)
				for _, spread := range pod.Spec.TopologySpreadConstraints {
					wantPod(t, spread.LabelSelector)
				}
				if all["ServiceAccount/"+pod.Spec.ServiceAccountName] == nil {
					t.Errorf("there is no service account %q", pod.Spec.ServiceAccountName)
				}
				wantPort(t, container.LivenessProbe.HTTPGet.Port)
				wantPort(t, container.ReadinessProbe.HTTPGet.Port)
			case "Service":
				var service corev1.Service
				convert(t, object.Object, &service)
				wantPod(t, &metav1.LabelSelector{MatchLabels: service.Spec.Selector})
				for _, port := range service.Spec.Ports {
					wantPort(t, port.TargetPort)
				}
			case "HorizontalPodAutoscaler":
				var scaler autoscalingv2.HorizontalPodAutoscaler
				convert(t, object.Object, &scaler)
				if to := scaler.Spec.ScaleTargetRef; to.Name != agent.Name || to.Kind != agent.Kind || to.APIVersion != agent.APIVersion {
					t.Errorf("it scales %+v", to)
				}
				// It reckons in parts of what a container requests.
				if _, requested := container.Resources.Requests[scaler.Spec.Metrics[0].Resource.Name]; !requested {
					t.Errorf("the agent requests no %s", scaler.Spec.Metrics[0].Resource.Name)
				}
			case "PodDisruptionBudget":
				var budget policyv1.PodDisruptionBudget
				convert(t, object.Object, &budget)
				wantPod(t, budget.Spec.Selector)
			case "NetworkPolicy":
				var policy networkingv1.NetworkPolicy
				convert(t, object.Object, &policy)
				wantPod(t, &policy.Spec.PodSelector)
				for _, rule := range policy.Spec.Ingress {
					for _, port := range rule.Ports {
						wantPort(t, *port.Port)
					}
				}
			case "PodMonitor":
				var monitor monitoring.PodMonitor
				convert(t, object.Object, &monitor)
				wantPod(t, &monitor.Spec.Selector)
				for _, endpoint := range monitor.Spec.PodMetricsEndpoints {
					if endpoint.Port == nil || of(*endpoint.Port) == nil || of(*endpoint.Port).ContainerPort != api.MetricsPort || endpoint.Path != api.MetricsPath {
						t.Errorf("it scrapes something else than the agents:\n%s", text(t, object))
					}
				}
			case "ServiceMonitor":
				var monitor monitoring.ServiceMonitor
				convert(t, object.Object, &monitor)
				wantScraped(t, all, monitor, of)
			case "FlowSchema":
				var schema flowcontrolv1.FlowSchema
				convert(t, object.Object, &schema)
				// Those that every API server makes and that are not for itself or its nodes.
				if level := schema.Spec.PriorityLevelConfiguration.Name; !slices.Contains([]string{"leader-election", "workload-high", "workload-low", "global-default"}, level) {
					t.Errorf("no API server has the priority level %q of itself", level)
				}
				for _, rule := range schema.Spec.Rules {
					for _, subject := range rule.Subjects {
						if account := subject.ServiceAccount; account == nil || account.Name != pod.Spec.ServiceAccountName || account.Namespace != agent.Namespace {
							t.Errorf("it is of %+v", subject)
						}
					}
				}
			case "ValidatingAdmissionPolicy":
				var policy admissionv1.ValidatingAdmissionPolicy
				convert(t, object.Object, &policy)
				if chosen := policy.Spec.MatchConstraints.NamespaceSelector; object.GetName() == api.RecordsPolicyName &&
					(chosen == nil || chosen.MatchLabels[corev1.LabelMetadataName] != agent.Namespace) {
					t.Errorf("it looks at the namespaces %v, the agents are in %q", chosen, agent.Namespace)
				}
			case "ResourceQuota":
				var quota corev1.ResourceQuota
				convert(t, object.Object, &quota)
				if admitted := quota.Spec.ScopeSelector.MatchExpressions[0].Values; !slices.Contains(admitted, pod.Spec.PriorityClassName) || quota.Name != api.QuotaName {
					t.Errorf("it admits Pods of %q, the agents' class is %q", admitted, pod.Spec.PriorityClassName)
				}
			}
		})
	}
	for _, kind := range []string{"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor", "ServiceMonitor", "FlowSchema", "ResourceQuota", "ValidatingAdmissionPolicy"} {
		if !seen[kind] {
			t.Errorf("no %s was looked at", kind)
		}
	}
}

// wantScraped wants one Service that the monitor chooses, with the port that it names.
func wantScraped(t *testing.T, all objects, monitor monitoring.ServiceMonitor, of func(string) *corev1.ContainerPort) {
	t.Helper()
	chosen, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for name, object := range all {
		if object.GetKind() != "Service" || !chosen.Matches(labels.Set(object.GetLabels())) {
			continue
		}
		found = append(found, name)
		var service corev1.Service
		convert(t, object.Object, &service)
		for _, endpoint := range monitor.Spec.Endpoints {
			at := slices.IndexFunc(service.Spec.Ports, func(port corev1.ServicePort) bool { return port.Name == endpoint.Port })
			if at < 0 || endpoint.Path != api.MetricsPath {
				t.Errorf("%s has no port %q, or the path is not %q", name, endpoint.Port, endpoint.Path)
				continue
			}
			if to := of(service.Spec.Ports[at].TargetPort.StrVal); to == nil || to.ContainerPort != api.MetricsPort {
				t.Errorf("%s leads to %+v", name, to)
			}
		}
	}
	if len(found) != 1 {
		t.Errorf("it chooses %q, want one Service", found)
	}
}

// The agent listens where its Pod says, and is asked for what it answers.
func TestPortsAndPathsMatchTheAgent(t *testing.T) {
	all := fromChart(t, render.Options{})
	var agent appsv1.Deployment
	convert(t, all["Deployment/"+api.Agent].Object, &agent)
	container := agent.Spec.Template.Spec.Containers[0]
	ports := map[string]int32{}
	for _, port := range container.Ports {
		ports[port.Name] = port.ContainerPort
	}
	if want := (map[string]int32{"webhook": api.WebhookPort, "probes": api.ProbePort, "metrics": api.MetricsPort}); !maps.Equal(ports, want) {
		t.Errorf("the ports are %v, want %v", ports, want)
	}
	for flag, port := range map[string]int{"webhook": api.WebhookPort, "probe": api.ProbePort, "metrics": api.MetricsPort} {
		if want := fmt.Sprintf("--%s-listen=:%d", flag, port); !slices.Contains(container.Args, want) {
			t.Errorf("%s is not among %q", want, container.Args)
		}
	}
	if live, ready := container.LivenessProbe.HTTPGet.Path, container.ReadinessProbe.HTTPGet.Path; live != api.HealthPath || ready != api.ReadyPath {
		t.Errorf("the probes ask for %s and %s", live, ready)
	}
	for kind, path := range map[string]string{"MutatingWebhookConfiguration": api.MutatePath, "ValidatingWebhookConfiguration": api.GuardPath} {
		if configuration := text(t, all[kind+"/"+api.WebhookName]); !strings.Contains(configuration, "path: "+path+"\n") {
			t.Errorf("%s calls another path than %s:\n%s", kind, path, configuration)
		}
	}
}
