package install

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func deploymentOf(t *testing.T, set map[string]string) *appsv1.Deployment {
	t.Helper()
	objects, err := Render(t.Context(), Options{Set: set})
	if err != nil {
		t.Fatal(err)
	}
	deployment := &appsv1.Deployment{}
	for _, object := range objects {
		if object.GetKind() == "Deployment" {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, deployment); err != nil {
				t.Fatal(err)
			}
		}
	}
	return deployment
}

// OpenShift chooses the user of a Pod and refuses any other.
func TestFieldsOfASecurityContextCanBeLeftOut(t *testing.T) {
	pod := deploymentOf(t, map[string]string{"podSecurityContext.runAsUser": "null", "podSecurityContext.runAsGroup": "1001"}).Spec.Template.Spec
	if context := pod.SecurityContext; context.RunAsUser != nil || context.RunAsGroup == nil || *context.RunAsGroup != 1001 || context.RunAsNonRoot == nil || !*context.RunAsNonRoot {
		t.Errorf("the pod's security context is %+v", context)
	}
	container := deploymentOf(t, map[string]string{
		"securityContext.capabilities.drop": `["NET_RAW"]`, "securityContext.allowPrivilegeEscalation": "null", "securityContext.seccompProfile.type": "Unconfined",
	}).Spec.Template.Spec.Containers[0].SecurityContext
	if container.AllowPrivilegeEscalation != nil || len(container.Capabilities.Drop) != 1 || container.Capabilities.Drop[0] != "NET_RAW" || container.SeccompProfile.Type != "Unconfined" {
		t.Errorf("the container's security context is %+v", container)
	}
}

func TestInvalidSettingsAreRejected(t *testing.T) {
	for setting, says := range map[string]string{
		"podSecurityContext.runAsUsr=1":        `unknown field "runAsUsr"`,
		"podSecurityContext.runAsUser=root":    "podSecurityContext.runAsUser=root",
		"podSecurityContext.=1":                "no setting",
		"securityContext.fsGroup=1":            `unknown field "fsGroup"`,
		"securityContext.capabilities.drop=no": "securityContext.capabilities.drop=no",
		"hostNetwork=yes":                      "true or false",
		"ports.webhook=443":                    "1024 to 65535",
		"ports.other=4430":                     "no setting",
		"priorityClassName=a\nb: c":            "priorityClassName=",
		"nodeSelector.a b=c":                   "nodeSelector.a b=",
		"nodeSelector.pool=a\nb":               "nodeSelector.pool=",
	} {
		key, value, _ := strings.Cut(setting, "=")
		err := Options{Set: map[string]string{key: value}}.Validate()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("--set %s: got %v, want %q", setting, err, says)
		}
	}
}

func TestHostNetwork(t *testing.T) {
	deployment := deploymentOf(t, map[string]string{"hostNetwork": "true", "ports.webhook": "10443"})
	pod, container := deployment.Spec.Template.Spec, deployment.Spec.Template.Spec.Containers[0]
	// Each node has room for one: no surge.
	if rolling := deployment.Spec.Strategy.RollingUpdate; !pod.HostNetwork || pod.DNSPolicy != "ClusterFirstWithHostNet" || rolling == nil || rolling.MaxSurge.IntValue() != 0 || rolling.MaxUnavailable.IntValue() != 1 {
		t.Errorf("hostNetwork %v, dnsPolicy %s, strategy %+v", pod.HostNetwork, pod.DNSPolicy, deployment.Spec.Strategy)
	}
	if container.Ports[0].Name != "webhook" || container.Ports[0].ContainerPort != 10443 || container.Args[0] != "--webhook-listen=:10443" || container.Ports[1].ContainerPort != 8081 {
		t.Errorf("ports %+v, arguments %q", container.Ports, container.Args)
	}
	if plain := deploymentOf(t, map[string]string{"hostNetwork": "false"}); plain.Spec.Template.Spec.HostNetwork || plain.Spec.Strategy.RollingUpdate != nil {
		t.Errorf("hostNetwork=false has an effect: %+v", plain.Spec)
	}
	objects, err := Render(t.Context(), Options{Set: map[string]string{"hostNetwork": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if object.GetKind() == "Namespace" && object.GetLabels()["pod-security.kubernetes.io/enforce"] != "privileged" {
			t.Errorf("the namespace has labels %v, and Pod Security admits no host network there", object.GetLabels())
		}
	}
}
