package install

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// setting is one thing that --set can change: of which kind of object, and how.
type setting struct {
	kind  string
	apply func(object *unstructured.Unstructured, key, value string) error
}

// nodeSelectorPrefix begins the settings with a label of one's own in them.
const nodeSelectorPrefix = "nodeSelector."

// priorityClassName is the setting that api.QuotaName follows, too: some clusters admit Pods of
// a class only where a quota names it.
const priorityClassName = "priorityClassName"

// settings by name. What is not here can be changed by a kustomization.
var settings = map[string]setting{
	"failurePolicy":             {"MutatingWebhookConfiguration", failurePolicy},
	"webhookTimeoutSeconds":     {"MutatingWebhookConfiguration", webhookTimeout},
	"guard.failurePolicy":       {"ValidatingWebhookConfiguration", failurePolicy},
	"guard.timeoutSeconds":      {"ValidatingWebhookConfiguration", webhookTimeout},
	"resources.requests.cpu":    {"Deployment", quantity},
	"resources.requests.memory": {"Deployment", quantity},
	"resources.limits.memory":   {"Deployment", quantity},
	"imagePullPolicy": {"Deployment", func(object *unstructured.Unstructured, key, value string) error {
		if !slices.Contains([]string{"Always", "IfNotPresent", "Never"}, value) {
			return fmt.Errorf("%s must be Always, IfNotPresent or Never, not %q", key, value)
		}
		return eachMap(object.Object, func(container map[string]any) error { container["imagePullPolicy"] = value; return nil }, "spec", "template", "spec", "containers")
	}},
	priorityClassName: {"Deployment", func(object *unstructured.Unstructured, _, value string) error {
		if object.GetName() == api.QuotaName {
			return eachMap(object.Object, func(scope map[string]any) error { scope["values"] = []any{value}; return nil }, "spec", "scopeSelector", "matchExpressions")
		}
		return unstructured.SetNestedField(object.Object, value, "spec", "template", "spec", "priorityClassName")
	}},
	nodeSelectorPrefix + "LABEL": {"Deployment", func(object *unstructured.Unstructured, key, value string) error {
		label := strings.TrimPrefix(key, nodeSelectorPrefix)
		return unstructured.SetNestedField(object.Object, value, "spec", "template", "spec", "nodeSelector", label)
	}},
}

// SettingNames returns what can be set, sorted.
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

func settingNamed(key string) (setting, bool) {
	if strings.HasPrefix(key, nodeSelectorPrefix) && key != nodeSelectorPrefix {
		key = nodeSelectorPrefix + "LABEL"
	}
	known, found := settings[key]
	return known, found
}

// settingFaults returns what is wrong with settings that can be said without objects.
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

// sample is an object of a kind with just what settings change.
func sample(kind string) *unstructured.Unstructured {
	if kind == "Deployment" {
		containers := map[string]any{"containers": []any{map[string]any{"name": "agent"}}}
		return &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": containers}}}}
	}
	return &unstructured.Unstructured{Object: map[string]any{"webhooks": []any{map[string]any{}}}}
}

// change applies the settings that are about this object.
func (o Options) change(object *unstructured.Unstructured) error {
	for _, key := range slices.Sorted(maps.Keys(o.Set)) {
		if known, found := settingNamed(key); found && (known.kind == object.GetKind() || key == priorityClassName && object.GetName() == api.QuotaName) {
			if err := known.apply(object, key, o.Set[key]); err != nil {
				return err
			}
		}
	}
	return nil
}
