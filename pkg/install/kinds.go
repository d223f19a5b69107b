package install

import (
	"cmp"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// phase is when an object is removed. Admission is removed first, so that no node
// gets the finalizer any more; then the agent, so that it adds none; then, once
// no node has one, the rest, with the rights last.
type phase int

const (
	phaseAdmission phase = iota
	phaseAgent
	phaseData
	phaseRights
	phaseNamespace
)

// kind is one kind of object that an install consists of.
type kind struct {
	schema.GroupVersionKind
	resource   string
	namespaced bool
	removed    phase
	// names of our objects that have lost their label, or that the agent creates without one.
	names []string
}

func (k kind) client(objects dynamic.Interface, namespace string) dynamic.ResourceInterface {
	resource := objects.Resource(k.GroupVersion().WithResource(k.resource))
	if k.namespaced {
		return resource.Namespace(namespace)
	}
	return resource
}

// nameInDefault returns the name of the kind's object in the namespace "default", where Events
// about Nodes are; "" if it has none.
func (k kind) nameInDefault() string {
	if k.Kind == "Role" || k.Kind == "RoleBinding" {
		return api.AgentEvents
	}
	return ""
}

// inStepNamespaces reports whether an install has objects of the kind in the namespaces in which steps
// need rights. They are named api.AgentSteps, or begin with it if they come from a manifest of check.
func (k kind) inStepNamespaces() bool { return k.Kind == "Role" || k.Kind == "RoleBinding" }

// kinds lists every kind that an install or the agent creates, in the order of their removal. An
// uninstall needs no discovery, and works on an API server whose aggregated APIs are broken.
func kinds() []kind {
	of := func(group, version, name string) schema.GroupVersionKind {
		return schema.GroupVersionKind{Group: group, Version: version, Kind: name}
	}
	const (
		admission = "admissionregistration.k8s.io"
		rbac      = "rbac.authorization.k8s.io"
	)
	agent, steps := []string{api.Agent}, []string{api.Agent, api.AgentSteps}
	validating := []string{api.WebhookName, api.RecordsPolicyName}
	return []kind{
		{of(admission, "v1", "MutatingWebhookConfiguration"), "mutatingwebhookconfigurations", false, phaseAdmission, []string{api.WebhookName}},
		{of(admission, "v1", "ValidatingWebhookConfiguration"), "validatingwebhookconfigurations", false, phaseAdmission, []string{api.WebhookName}},
		{of(admission, "v1", "MutatingAdmissionPolicyBinding"), "mutatingadmissionpolicybindings", false, phaseAdmission, []string{api.WebhookName}},
		{of(admission, "v1", "MutatingAdmissionPolicy"), "mutatingadmissionpolicies", false, phaseAdmission, []string{api.WebhookName}},
		{of(admission, "v1", "ValidatingAdmissionPolicyBinding"), "validatingadmissionpolicybindings", false, phaseAdmission, validating},
		{of(admission, "v1", "ValidatingAdmissionPolicy"), "validatingadmissionpolicies", false, phaseAdmission, validating},

		{of("apps", "v1", "Deployment"), "deployments", true, phaseAgent, agent},
		// Deleted explicitly, because the garbage collector may be broken.
		{of("apps", "v1", "ReplicaSet"), "replicasets", true, phaseAgent, nil},
		{of("", "v1", "Pod"), "pods", true, phaseAgent, nil},

		{of("policy", "v1", "PodDisruptionBudget"), "poddisruptionbudgets", true, phaseData, agent},
		{of("", "v1", "ResourceQuota"), "resourcequotas", true, phaseData, []string{api.QuotaName}},
		{of("", "v1", "Service"), "services", true, phaseData, agent},
		{of("coordination.k8s.io", "v1", "Lease"), "leases", true, phaseData, agent},
		{of("", "v1", "ConfigMap"), "configmaps", true, phaseData, []string{api.ConfigName, api.StatusName, api.GuardName, api.NotificationsName}},
		{of("", "v1", "Secret"), "secrets", true, phaseData, []string{api.CASecretName}},

		{of("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"), "flowschemas", false, phaseData, []string{api.Agent, api.Agent + "-lease"}},

		{of(rbac, "v1", "RoleBinding"), "rolebindings", true, phaseRights, agent},
		{of(rbac, "v1", "Role"), "roles", true, phaseRights, agent},
		{of(rbac, "v1", "ClusterRoleBinding"), "clusterrolebindings", false, phaseRights, steps},
		{of(rbac, "v1", "ClusterRole"), "clusterroles", false, phaseRights, steps},
		{of("", "v1", "ServiceAccount"), "serviceaccounts", true, phaseRights, agent},

		{of("", "v1", "Namespace"), "namespaces", false, phaseNamespace, nil},
	}
}

func kindOf(gvk schema.GroupVersionKind) (kind, error) {
	for _, known := range kinds() {
		if known.GroupVersionKind == gvk {
			return known, nil
		}
	}
	return kind{}, fmt.Errorf("finding the resource of %s: an install has no such kind", gvk)
}

// Object names one object of an install.
type Object struct {
	kind
	Namespace string
	Name      string
	// Record means that the object is a run record. There can be thousands.
	Record bool
	// HelmRelease is the name of the Helm release that applied it, if one did.
	HelmRelease string
}

// ByHelm reports whether Helm manages the object.
func ByHelm(object metav1.Object) bool { return object.GetLabels()[labelManagedBy] == "Helm" }

// Annotations that name the Helm release that applied an object, and its namespace.
const (
	AnnotationHelmRelease   = "meta.helm.sh/release-name"
	AnnotationHelmNamespace = "meta.helm.sh/release-namespace"
)

// HelmUpgrade returns the command that applies the manifests of an object's Helm release again,
// empty if Helm does not manage the object.
func HelmUpgrade(object metav1.Object) string {
	if !ByHelm(object) {
		return ""
	}
	annotations := object.GetAnnotations()
	return fmt.Sprintf("helm upgrade %s CHART -n %s --reuse-values --wait",
		cmp.Or(annotations[AnnotationHelmRelease], "RELEASE"), cmp.Or(annotations[AnnotationHelmNamespace], "NAMESPACE"))
}

// String returns "deployment.apps/nodecleanup-agent", as kubectl writes it.
func (o Object) String() string {
	return objectName(o.GroupVersionKind, o.Name)
}

func objectName(gvk schema.GroupVersionKind, name string) string {
	return schema.GroupKind{Group: gvk.Group, Kind: lower(gvk.Kind)}.String() + "/" + name
}

func ours(object *unstructured.Unstructured) bool {
	return object.GetLabels()[api.LabelName] == api.LabelNameValue
}

// kindNamed returns a kind that is in the list; any other is a fault of this package.
func kindNamed(name string) kind {
	for _, known := range kinds() {
		if known.Kind == name {
			return known
		}
	}
	panic("install: no kind " + name)
}

// AfterNodes reports whether the object is removed after the nodes are released.
func (o Object) AfterNodes() bool { return o.removed > phaseAgent }
