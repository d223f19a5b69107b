package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/manifests"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

const labelManagedBy = "app.kubernetes.io/managed-by"

// Render returns the objects of an install in the order in which they are
// applied: namespace, rights, config, agent, admission. It asks no server. The end of
// ctx ends the build of a kustomization.
func Render(ctx context.Context, options Options) ([]*unstructured.Unstructured, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	options = options.withDefaults()
	base, err := readBase()
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, object := range base {
		if options.AgentURL != "" && runsAgent(object) || options.Admission.leavesOut(object) {
			continue
		}
		if err := errors.Join(customise(object, options), options.change(object)); err != nil {
			return nil, fmt.Errorf("rendering %s: %w", objectName(object.GroupVersionKind(), object.GetName()), err)
		}
		objects = append(objects, object)
		if object.GetKind() == "ClusterRoleBinding" && object.GetName() == api.AgentSteps {
			roles, err := stepRoles(object, options)
			if err != nil {
				return nil, fmt.Errorf("rendering the rights of the steps: %w", err)
			}
			objects = append(objects, roles...)
		}
	}
	if options.Kustomization == "" {
		return objects, nil
	}
	objects, err = kustomize(ctx, options, objects)
	if err != nil {
		return nil, fmt.Errorf("building the kustomization in %s: %w", options.Kustomization, err)
	}
	return objects, nil
}

// runsAgent reports whether the object is needed only if the agent runs in the cluster.
func runsAgent(object *unstructured.Unstructured) bool {
	return slices.Contains([]string{"Deployment", "Service", "PodDisruptionBudget", "ResourceQuota"}, object.GetKind())
}

func customise(object *unstructured.Unstructured, options Options) error {
	labels := object.GetLabels()
	labels[labelManagedBy] = api.FieldManager
	object.SetLabels(labels)
	if object.GetNamespace() == api.Namespace { // Another one stays: Events about Nodes are in "default".
		object.SetNamespace(options.Namespace)
	}
	switch object.GetKind() {
	case "Namespace":
		object.SetName(options.Namespace)
	case "ClusterRole":
		if object.GetName() == api.AgentSteps && options.StepRules != nil {
			return setRules(object, options.StepRules[""])
		}
	case "ClusterRoleBinding", "RoleBinding":
		return eachMap(object.Object, func(subject map[string]any) error {
			subject["namespace"] = options.Namespace
			return nil
		}, "subjects")
	case "ValidatingAdmissionPolicy":
		labels := []string{"spec", "matchConstraints", "namespaceSelector", "matchLabels"}
		if _, found, err := unstructured.NestedStringMap(object.Object, labels...); err != nil || !found {
			return err // It is about Nodes, which are in no namespace.
		}
		return unstructured.SetNestedStringMap(object.Object, map[string]string{corev1.LabelMetadataName: options.Namespace}, labels...)
	case "FlowSchema":
		return eachMap(object.Object, func(rule map[string]any) error { return ofNamespace(rule, options.Namespace) }, "spec", "rules")
	case "ConfigMap":
		if options.Config != nil {
			return unstructured.SetNestedField(object.Object, string(options.Config), "data", api.ConfigKey)
		}
	case "Deployment":
		if options.Replicas != nil {
			if err := unstructured.SetNestedField(object.Object, int64(*options.Replicas), "spec", "replicas"); err != nil {
				return err
			}
		}
		return eachMap(object.Object, func(container map[string]any) error {
			container["image"] = options.Image
			return nil
		}, "spec", "template", "spec", "containers")
	case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
		return eachMap(object.Object, func(webhook map[string]any) error {
			if options.AgentURL != "" {
				path, _, err := unstructured.NestedString(webhook, "clientConfig", "service", "path")
				webhook["clientConfig"] = map[string]any{"url": strings.TrimRight(options.AgentURL, "/") + path}
				return err
			}
			return unstructured.SetNestedField(webhook, options.Namespace, "clientConfig", "service", "namespace")
		}, "webhooks")
	}
	return nil
}

// setRules replaces the rules of a ClusterRole.
func setRules(object *unstructured.Unstructured, rules []rbacv1.PolicyRule) error {
	list := make([]any, len(rules))
	for i := range rules {
		rule, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&rules[i])
		if err != nil {
			return err
		}
		list[i] = rule
	}
	return unstructured.SetNestedSlice(object.Object, list, "rules")
}

// ofNamespace makes a rule of a FlowSchema one about the agent in that namespace.
func ofNamespace(rule map[string]any, namespace string) error {
	if err := eachMap(rule, func(subject map[string]any) error {
		return unstructured.SetNestedField(subject, namespace, "serviceAccount", "namespace")
	}, "subjects"); err != nil {
		return err
	}
	return eachMap(rule, func(resources map[string]any) error {
		if namespaces, _, err := unstructured.NestedStringSlice(resources, "namespaces"); err != nil || slices.Equal(namespaces, []string{"*"}) {
			return err
		}
		return unstructured.SetNestedStringSlice(resources, []string{namespace}, "namespaces")
	}, "resourceRules")
}

// eachMap changes every element of a list of maps inside an object.
func eachMap(object map[string]any, change func(map[string]any) error, path ...string) error {
	list, found, err := unstructured.NestedSlice(object, path...)
	if err != nil {
		return err
	}
	if !found || len(list) == 0 {
		return fmt.Errorf("%s is missing", strings.Join(path, "."))
	}
	for _, element := range list {
		fields, is := element.(map[string]any)
		if !is {
			return fmt.Errorf("%s holds %T, not an object", strings.Join(path, "."), element)
		}
		if err := change(fields); err != nil {
			return err
		}
	}
	return unstructured.SetNestedSlice(object, list, path...)
}

// readBase decodes the embedded files in the order of the kustomization.
func readBase() ([]*unstructured.Unstructured, error) {
	data, err := manifests.Base.ReadFile("base/kustomization.yaml")
	if err != nil {
		return nil, fmt.Errorf("reading the manifests: %w", err)
	}
	var kustomization struct {
		Resources []string `json:"resources"`
	}
	if err := yaml.Unmarshal(data, &kustomization); err != nil {
		return nil, fmt.Errorf("reading the manifests: kustomization.yaml: %w", err)
	}
	var objects []*unstructured.Unstructured
	for _, name := range kustomization.Resources {
		data, err := manifests.Base.ReadFile("base/" + name)
		if err != nil {
			return nil, fmt.Errorf("reading the manifests: %w", err)
		}
		documents, err := decode(data)
		if err != nil {
			return nil, fmt.Errorf("reading the manifests: %s: %w", name, err)
		}
		objects = append(objects, documents...)
	}
	return objects, nil
}

func decode(data []byte) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}

func lower(s string) string { return strings.ToLower(s) }
