package install

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"
)

// setting is one value that --set can change: the kind of its object, another kind that changes
// with it, and the change.
type setting struct {
	kind  string
	also  string
	apply func(object *unstructured.Unstructured, key, value string) error
}

// These begin settings that have the name of a label or of a field in them.
const (
	nodeSelectorPrefix       = "nodeSelector."
	podSecurityContextPrefix = "podSecurityContext."
	securityContextPrefix    = "securityContext."
)

// settings by name. A kustomization can change anything else.
var settings = map[string]setting{
	"failurePolicy":             {kind: "MutatingWebhookConfiguration", apply: failurePolicy},
	"webhookTimeoutSeconds":     {kind: "MutatingWebhookConfiguration", apply: webhookTimeout},
	"guard.failurePolicy":       {kind: "ValidatingWebhookConfiguration", apply: failurePolicy},
	"guard.timeoutSeconds":      {kind: "ValidatingWebhookConfiguration", apply: webhookTimeout},
	"resources.requests.cpu":    {kind: "Deployment", apply: quantity},
	"resources.requests.memory": {kind: "Deployment", apply: quantity},
	"resources.limits.memory":   {kind: "Deployment", apply: quantity},
	"imagePullPolicy": {kind: "Deployment", apply: func(object *unstructured.Unstructured, key, value string) error {
		if !slices.Contains([]string{"Always", "IfNotPresent", "Never"}, value) {
			return fmt.Errorf("%s must be Always, IfNotPresent or Never, not %q", key, value)
		}
		return eachMap(object.Object, func(container map[string]any) error { container["imagePullPolicy"] = value; return nil }, "spec", "template", "spec", "containers")
	}},
	// Some clusters admit Pods of a priority class only if a quota names it.
	"priorityClassName": {kind: "Deployment", also: "ResourceQuota", apply: func(object *unstructured.Unstructured, key, value string) error {
		if object.GetKind() == "ResourceQuota" {
			return eachMap(object.Object, func(scope map[string]any) error { scope["values"] = []any{value}; return nil }, "spec", "scopeSelector", "matchExpressions")
		}
		if value != "" {
			if problems := validation.IsDNS1123Subdomain(value); len(problems) > 0 {
				return fmt.Errorf("%s=%q: %s", key, value, strings.Join(problems, "; "))
			}
		}
		return unstructured.SetNestedField(object.Object, value, "spec", "template", "spec", "priorityClassName")
	}},
	nodeSelectorPrefix + "LABEL": {kind: "Deployment", apply: func(object *unstructured.Unstructured, key, value string) error {
		label := strings.TrimPrefix(key, nodeSelectorPrefix)
		if problems := append(validation.IsQualifiedName(label), validation.IsValidLabelValue(value)...); len(problems) > 0 {
			return fmt.Errorf("%s=%q: %s", key, value, strings.Join(problems, "; "))
		}
		return unstructured.SetNestedField(object.Object, value, "spec", "template", "spec", "nodeSelector", label)
	}},
	"hostNetwork":   {kind: "Deployment", also: "Namespace", apply: hostNetwork},
	"ports.webhook": {kind: "Deployment", apply: port},
	"ports.probes":  {kind: "Deployment", apply: port},
	"ports.metrics": {kind: "Deployment", apply: port},
	podSecurityContextPrefix + "FIELD": {kind: "Deployment", apply: func(object *unstructured.Unstructured, key, value string) error {
		spec, _, err := unstructured.NestedMap(object.Object, "spec", "template", "spec")
		if err != nil {
			return err
		}
		if err := setField(spec, key, "securityContext", value, &corev1.PodSecurityContext{}); err != nil {
			return err
		}
		return unstructured.SetNestedMap(object.Object, spec, "spec", "template", "spec")
	}},
	securityContextPrefix + "FIELD": {kind: "Deployment", apply: func(object *unstructured.Unstructured, key, value string) error {
		return eachMap(object.Object, func(container map[string]any) error {
			return setField(container, key, "securityContext", value, &corev1.SecurityContext{})
		}, "spec", "template", "spec", "containers")
	}},
}

// SettingNames returns the names of all settings, sorted.
func SettingNames() []string { return slices.Sorted(maps.Keys(settings)) }

func failurePolicy(object *unstructured.Unstructured, key, value string) error {
	if value != "Ignore" && value != "Fail" {
		return fmt.Errorf("%s must be Ignore or Fail, not %q", key, value)
	}
	return eachMap(object.Object, func(webhook map[string]any) error { webhook["failurePolicy"] = value; return nil }, "webhooks")
}

func webhookTimeout(object *unstructured.Unstructured, key, value string) error {
	seconds, err := strconv.ParseInt(value, 10, 32)
	if err != nil || seconds < 1 || seconds > 30 {
		return fmt.Errorf("%s must be 1 to 30, not %q", key, value)
	}
	return eachMap(object.Object, func(webhook map[string]any) error { webhook["timeoutSeconds"] = seconds; return nil }, "webhooks")
}

func quantity(object *unstructured.Unstructured, key, value string) error {
	if _, err := resource.ParseQuantity(value); err != nil {
		return fmt.Errorf("%s must be a quantity such as 100m or 128Mi, not %q", key, value)
	}
	return eachMap(object.Object, func(container map[string]any) error {
		return unstructured.SetNestedField(container, value, strings.Split(key, ".")...)
	}, "spec", "template", "spec", "containers")
}

// hostNetwork makes the agents use their node's network. Then each replica needs its own node,
// even during a rollout, and only the Pod Security level privileged admits them.
func hostNetwork(object *unstructured.Unstructured, key, value string) error {
	switch {
	case value != "true" && value != "false":
		return fmt.Errorf("%s must be true or false, not %q", key, value)
	case value == "false":
		return nil // As the manifests have it.
	case object.GetKind() == "Namespace":
		labels := object.GetLabels()
		for label := range labels {
			if strings.HasPrefix(label, "pod-security.kubernetes.io/") {
				labels[label] = "privileged"
			}
		}
		object.SetLabels(labels)
		return nil
	}
	for value, path := range map[any][]string{
		true:                      {"template", "spec", "hostNetwork"},
		"ClusterFirstWithHostNet": {"template", "spec", "dnsPolicy"},
		int64(0):                  {"strategy", "rollingUpdate", "maxSurge"},
		int64(1):                  {"strategy", "rollingUpdate", "maxUnavailable"},
	} {
		if err := unstructured.SetNestedField(object.Object, value, append([]string{"spec"}, path...)...); err != nil {
			return err
		}
	}
	return nil
}

// port changes a port of the agent: its flag and the port of its container.
func port(object *unstructured.Unstructured, key, value string) error {
	number, err := strconv.ParseInt(value, 10, 32)
	if err != nil || number < 1024 || number > 65535 {
		return fmt.Errorf("%s must be 1024 to 65535, not %q", key, value)
	}
	_, name, _ := strings.Cut(key, ".")
	flag := map[string]string{"webhook": "--webhook-listen", "probes": "--probe-listen", "metrics": "--metrics-listen"}[name]
	return eachMap(object.Object, func(container map[string]any) error {
		arguments, _, err := unstructured.NestedStringSlice(container, "args")
		if err != nil {
			return err
		}
		for i, argument := range arguments {
			if strings.HasPrefix(argument, flag+"=") {
				arguments[i] = flag + "=:" + value
			}
		}
		if err := unstructured.SetNestedStringSlice(container, arguments, "args"); err != nil {
			return err
		}
		return eachMap(container, func(port map[string]any) error {
			if port["name"] == name {
				port["containerPort"] = number
			}
			return nil
		}, "ports")
	}, "spec", "template", "spec", "containers")
}

// setField sets a field of the object that parent has under a name, to a value in JSON or to a
// word; null removes the field. The key is its path, after the name of the setting. Like is of
// the object's type, which knows the fields there are.
func setField(parent map[string]any, key, name, value string, like any) error {
	_, path, _ := strings.Cut(key, ".")
	fields := append([]string{name}, strings.Split(path, ".")...)
	var decoded any
	if err := utiljson.Unmarshal([]byte(value), &decoded); err != nil {
		decoded = value
	}
	if decoded == nil {
		unstructured.RemoveNestedField(parent, fields...)
	} else if err := unstructured.SetNestedField(parent, decoded, fields...); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	object, _, err := unstructured.NestedMap(parent, name)
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object, like, true); err != nil {
		return fmt.Errorf("%s=%s: %w", key, value, err)
	}
	return nil
}

func settingNamed(key string) (setting, bool) {
	for prefix, rest := range map[string]string{nodeSelectorPrefix: "LABEL", podSecurityContextPrefix: "FIELD", securityContextPrefix: "FIELD"} {
		if strings.HasPrefix(key, prefix) && key != prefix {
			key = prefix + rest
		}
	}
	known, found := settings[key]
	return known, found
}

// settingFaults returns the faults of settings that can be found without objects.
func (o Options) settingFaults() []error {
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(o.Set)) {
		known, found := settingNamed(key)
		switch {
		case !found:
			faults = append(faults, fmt.Errorf("there is no setting %q; there are %s; a kustomization (-k) can change all else", key, strings.Join(SettingNames(), ", ")))
		case o.AgentURL != "" && known.kind == "Deployment":
			faults = append(faults, fmt.Errorf("setting %q has no effect: an agent URL means that no agent runs in the cluster", key))
		default:
			// A value that is refused is refused by its own setting, whatever the object.
			if err := known.apply(sample(known.kind), key, o.Set[key]); err != nil {
				faults = append(faults, err)
			}
		}
	}
	return faults
}

// sample is an object of a kind with only the fields that settings change.
func sample(kind string) *unstructured.Unstructured {
	if kind == "Deployment" {
		containers := map[string]any{"containers": []any{map[string]any{"name": "agent", "ports": []any{map[string]any{"name": "webhook"}}}}}
		return &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": containers}}}}
	}
	return &unstructured.Unstructured{Object: map[string]any{"webhooks": []any{map[string]any{}}}}
}

// change applies the settings that are about this object.
func (o Options) change(object *unstructured.Unstructured) error {
	for _, key := range slices.Sorted(maps.Keys(o.Set)) {
		if known, found := settingNamed(key); found && slices.Contains([]string{known.kind, known.also}, object.GetKind()) {
			if err := known.apply(object, key, o.Set[key]); err != nil {
				return err
			}
		}
	}
	return nil
}
