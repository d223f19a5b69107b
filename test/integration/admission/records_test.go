package admission_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// setUpRecords returns an install with writers: a group that may do everything with ConfigMaps
// of the agent's namespace, and nothing else.
func setUpRecords(t *testing.T) *fixture {
	t.Helper()
	f := setUp(t)
	f.bind("writers", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "create", "patch", "update", "delete"}})
	f.eventually("the API server enforces the policy for run records", func(ctx context.Context) (bool, error) {
		probe := configMap("run-probe-01234567", nil)
		_, err := f.writer().CoreV1().ConfigMaps(api.Namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsForbidden(err), nil
	})
	for _, object := range believed { // An agent of another test may have written them.
		if err := f.admin.CoreV1().ConfigMaps(api.Namespace).Delete(t.Context(), object.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	return f
}

func (f *fixture) writer() kubernetes.Interface { return f.as("wendy", "writers") }

func configMap(name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: api.Namespace, Labels: labels}, Data: map[string]string{"a": "b"}}
}

var runLabel = map[string]string{api.LabelRun: "true"}

// believed are the ConfigMaps that the agent writes and believes later.
var believed = map[string]*corev1.ConfigMap{
	"a run record":                   configMap("run-worker-01234567", runLabel),
	"a run record without its label": configMap("run-worker-01234567", nil),
	"a record of another name":       configMap("renamed", runLabel),
	"the status":                     configMap(api.StatusName, nil),
	"the delete guard's ConfigMap":   configMap(api.GuardName, nil),
	"the sent notifications":         configMap(api.NotificationsName, nil),
}

// store has the agent create an object, which is deleted with the test.
func (f *fixture) store(t *testing.T, object *corev1.ConfigMap) *corev1.ConfigMap {
	t.Helper()
	stored, err := f.agent().CoreV1().ConfigMaps(api.Namespace).Create(t.Context(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("the agent creates configmap %s: %v", object.Name, err)
	}
	t.Cleanup(func() {
		if err := f.admin.CoreV1().ConfigMaps(api.Namespace).Delete(context.WithoutCancel(t.Context()), object.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return stored
}

// wantRefused checks that the policy denied the request and named the next step.
func wantRefused(t *testing.T, what, name string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("%s: the answer is %v", what, err)
		return
	}
	for _, text := range []string{"configmap " + name + " decides whether a node is released", `the verb "bypass" on nodes`, api.Operator, "kubectl nodecleanup bypass NODE", "kubectl nodecleanup retry NODE"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %q is not in: %v", what, text, err)
		}
	}
}

// changes are the ways in which a writer can change a stored object.
var changes = map[string]func(ctx context.Context, client kubernetes.Interface, stored *corev1.ConfigMap) error{
	"update": func(ctx context.Context, client kubernetes.Interface, stored *corev1.ConfigMap) error {
		stored = stored.DeepCopy()
		stored.Data["a"] = "forged"
		_, err := client.CoreV1().ConfigMaps(api.Namespace).Update(ctx, stored, metav1.UpdateOptions{})
		return err
	},
	"removal of the label, with a change": func(ctx context.Context, client kubernetes.Interface, stored *corev1.ConfigMap) error {
		stored = stored.DeepCopy()
		stored.Labels, stored.Data["a"] = nil, "forged"
		_, err := client.CoreV1().ConfigMaps(api.Namespace).Update(ctx, stored, metav1.UpdateOptions{})
		return err
	},
	"patch of the data":             patchOf(`{"data":{"a":"forged"}}`),
	"patch of binary data":          patchOf(`{"binaryData":{"b":"Zm9yZ2Vk"}}`),
	"patch that makes it immutable": patchOf(`{"immutable":true}`),
	"patch of a label":              patchOf(`{"metadata":{"labels":{"` + api.LabelNodeUID + `":"forged"}}}`),
	"patch of an annotation":        patchOf(`{"metadata":{"annotations":{"example.com/a":""}}}`),
	"patch of a finalizer":          patchOf(`{"metadata":{"finalizers":["example.com/a"]}}`),
	"patch of an owner":             patchOf(`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"none","uid":"none"}]}}`),
	"server-side apply": func(ctx context.Context, client kubernetes.Interface, stored *corev1.ConfigMap) error {
		body := []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + stored.Name + `"},"data":{"a":"forged"}}`)
		_, err := client.CoreV1().ConfigMaps(api.Namespace).Patch(ctx, stored.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "forger", Force: new(true)})
		return err
	},
}

func patchOf(body string) func(context.Context, kubernetes.Interface, *corev1.ConfigMap) error {
	return func(ctx context.Context, client kubernetes.Interface, stored *corev1.ConfigMap) error {
		_, err := client.CoreV1().ConfigMaps(api.Namespace).Patch(ctx, stored.Name, types.MergePatchType, []byte(body), metav1.PatchOptions{})
		return err
	}
}

func TestConfigMapWriterCannotForgeRecords(t *testing.T) {
	f := setUpRecords(t)
	for what, object := range believed {
		t.Run(what, func(t *testing.T) {
			writer := f.writer().CoreV1().ConfigMaps(api.Namespace)
			_, err := writer.Create(t.Context(), object, metav1.CreateOptions{})
			wantRefused(t, "create", object.Name, err)
			stored := f.store(t, object)
			for _, change := range slices.Sorted(maps.Keys(changes)) {
				wantRefused(t, change, object.Name, changes[change](t.Context(), f.writer(), stored))
			}
			current, err := f.admin.CoreV1().ConfigMaps(api.Namespace).Get(t.Context(), object.Name, metav1.GetOptions{})
			if err != nil || current.ResourceVersion != stored.ResourceVersion {
				t.Errorf("it was changed: %+v, %v", current, err)
			}
			if _, err := writer.Update(t.Context(), stored, metav1.UpdateOptions{}); err != nil {
				t.Errorf("an update that changes nothing, as a storage migration: %v", err)
			}
			if err := writer.Delete(t.Context(), object.Name, metav1.DeleteOptions{}); err != nil {
				t.Errorf("deleting is left to RBAC: %v", err)
			}
		})
	}
}

func TestRecordsWithAGeneratedNameAreProtected(t *testing.T) {
	f := setUpRecords(t)
	object := configMap("", nil)
	object.GenerateName = "run-worker-"
	_, err := f.writer().CoreV1().ConfigMaps(api.Namespace).Create(t.Context(), object, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "decides whether a node is released") {
		t.Errorf("the answer is %v", err)
	}
}

func TestUsersWithBypassCanWriteRecords(t *testing.T) {
	f := setUpRecords(t)
	agents := f.agent()
	// Such as an agent outside the cluster with the kubeconfig of an operator.
	operators := f.as("op", "operators", "writers")
	for who, client := range map[string]kubernetes.Interface{"the agent": agents, "an operator who may write ConfigMaps": operators, "an administrator": f.admin} {
		for what, object := range believed {
			configMaps := client.CoreV1().ConfigMaps(api.Namespace)
			stored, err := configMaps.Create(t.Context(), object, metav1.CreateOptions{})
			if err != nil {
				t.Errorf("%s, %s: %v", who, what, err)
				continue
			}
			if err := changes["update"](t.Context(), client, stored); err != nil {
				t.Errorf("%s, %s: %v", who, what, err)
			}
			if err := configMaps.Delete(t.Context(), object.Name, metav1.DeleteOptions{}); err != nil {
				t.Errorf("%s, %s: %v", who, what, err)
			}
		}
	}
}

// A preflight needs only the Role, not the ClusterRole with the verb bypass.
func TestPreflightNeedsNoBypass(t *testing.T) {
	f := setUpRecords(t)
	f.store(t, configMap(api.StatusName, nil))
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "test-requesters", Namespace: api.Namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: api.Operator},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "requesters"}},
	}
	if _, err := f.admin.RbacV1().RoleBindings(api.Namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	requester := f.as("requester", "requesters")
	ask := patchOf(`{"metadata":{"annotations":{"` + api.AnnotationPreflightRequestedAt + `":"2026-01-31T04:00:00Z"}}}`)
	f.eventually("a request for a preflight is stored", func(ctx context.Context) (bool, error) {
		err := ask(ctx, requester, configMap(api.StatusName, nil))
		if apierrors.IsForbidden(err) && !strings.Contains(err.Error(), api.RecordsPolicyName) {
			return false, nil // The binding is not seen by the authorizer yet.
		}
		return err == nil, err
	})
	wantRefused(t, "a request with a change", api.StatusName,
		patchOf(`{"metadata":{"annotations":{"`+api.AnnotationPreflightRequestedAt+`":"2026-01-31T05:00:00Z"}},"data":{"a":"forged"}}`)(t.Context(), requester, configMap(api.StatusName, nil)))
}

// An operator writes run records when no agent runs. The operator Role cannot list them by name,
// but must not allow changes of the agent's config.
func TestOperatorRoleCannotChangeTheConfig(t *testing.T) {
	f := setUpRecords(t)
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "test-operators", Namespace: api.Namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: api.Operator},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "oncall"}},
	}
	if _, err := f.admin.RbacV1().RoleBindings(api.Namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	for who, groups := range map[string][]string{"with both roles": {"operators", "oncall"}, "with the Role alone": {"oncall"}} {
		client := f.as("op", groups...).CoreV1().ConfigMaps(api.Namespace)
		f.eventually("the Role is bound", func(ctx context.Context) (bool, error) {
			_, err := client.Create(ctx, configMap("runner", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err == nil, nil
		})
		record, err := client.Create(t.Context(), configMap("run-op-01234567", runLabel), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if (err == nil) != (len(groups) == 2) {
			t.Errorf("%s, a run record: %+v, %v", who, record, err)
		}
		config, err := f.admin.CoreV1().ConfigMaps(api.Namespace).Get(t.Context(), api.ConfigName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		config.Data = map[string]string{api.ConfigKey: "steps: []"}
		if _, err := client.Update(t.Context(), config, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "configures nodecleanup-agent") {
			t.Errorf("%s, an update of the config: %v", who, err)
		}
		if _, err := client.Create(t.Context(), configMap("nodecleanup-webhook-clients", nil), metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "the right to patch this ConfigMap") {
			t.Errorf("%s, creating the CA of the webhook's clients: %v", who, err)
		}
		if _, err := f.admin.CoreV1().ConfigMaps(api.Namespace).Update(t.Context(), config, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Errorf("an administrator: %v", err)
		}
	}
}

func TestOtherConfigMapsAreUnrestricted(t *testing.T) {
	f := setUpRecords(t)
	for what, object := range map[string]*corev1.ConfigMap{
		"a run record's name in another namespace": {ObjectMeta: metav1.ObjectMeta{Name: "run-worker-01234567", Namespace: metav1.NamespaceDefault, Labels: runLabel}},
		"another name in the agent's namespace":    configMap("runner", nil),
		"the root certificate":                     configMap("kube-root-ca.crt", nil),
	} {
		configMaps := f.writer().CoreV1().ConfigMaps(object.Namespace)
		if _, err := configMaps.Create(t.Context(), object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := patchOf(`{"metadata":{"annotations":{"example.com/a":"b"}}}`)(t.Context(), f.writer(), configMap(api.ConfigName, nil)); err != nil {
		t.Errorf("the config, which is the operators': %v", err)
	}
}
