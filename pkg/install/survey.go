package install

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// Survey lists the objects that an uninstall finds. Reading it changes nothing.
type Survey struct {
	Namespace string
	// NamespaceOurs: install made the namespace, so uninstall deletes it.
	NamespaceOurs bool
	// Objects that will be removed, in that order.
	Objects []Object
	// Foreign objects in the namespace that go with it, although neither install nor the agent
	// made them, such as "statefulset.apps/db".
	Foreign []string
	// Unseen are the kinds of them that the caller is not allowed to list.
	Unseen []string
	// Protected counts the nodes with our finalizer. Marked counts the nodes with our finalizer,
	// an annotation of ours or our condition.
	Protected int
	Marked    int
	// Running are the nodes with an ongoing cleanup. An uninstall releases terminating nodes
	// immediately, and does not change the others.
	Running []RunningNode
	// Cordoned are the nodes that the agent made unschedulable and that stay so.
	Cordoned []string
	// Leader renews the Lease and is not a Pod of the namespace: an agent outside the cluster.
	// Empty if there is none.
	Leader string
}

// Installed reports whether the agent's Deployment or config exists. Without both, as after
// kubectl delete of the manifests, no agent continues the cleanups.
func (s *Survey) Installed() bool {
	return slices.ContainsFunc(s.Objects, func(object Object) bool {
		return object.Kind == "Deployment" || object.Kind == "ConfigMap" && object.Name == api.ConfigName
	})
}

// HelmRelease returns the name of the Helm release that the objects belong to, empty if there
// is none.
func (s *Survey) HelmRelease() string {
	for _, object := range s.Objects {
		if object.HelmRelease != "" {
			return object.HelmRelease
		}
	}
	return ""
}

// RunningNode is a deleted Node that our finalizer keeps, or one that is cleaned up alive.
type RunningNode struct {
	Name string
	UID  types.UID
	// Without the finalizer it is deleted at once.
	Deleted bool
	// Run is its run record, nil if there is none. RunError is why it could not be read.
	Run      *api.Run
	RunError error
}

// Empty reports whether there is nothing to remove.
func (s *Survey) Empty() bool {
	return len(s.Objects) == 0 && s.Marked == 0
}

// Remover takes an install off a cluster.
type Remover struct {
	Objects dynamic.Interface
	Nodes   kubernetes.Interface
	// Now is the API server's time.
	Now func() time.Time
	// AgentStops is how long the agent's pods may take to end before they are
	// deleted by force.
	AgentStops time.Duration
	// KeepNamespace leaves the namespace, also one that install made: others
	// keep things in it, such as Helm its release.
	KeepNamespace bool
	// Report, if there is one, is called with a sentence on each thing done.
	Report func(string)
}

// Survey lists the objects of an install in a namespace.
func (r *Remover) Survey(ctx context.Context, namespace string, keepHistory bool) (*Survey, error) {
	survey := &Survey{Namespace: namespace}
	home, err := kindNamed("Namespace").client(r.Objects, "").Get(ctx, namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return nil, fmt.Errorf("reading namespace %s: %w", namespace, err)
	default:
		survey.NamespaceOurs = ours(home)
	}
	for _, kind := range kinds() {
		if kind.removed == phaseNamespace {
			continue
		}
		objects, err := r.find(ctx, kind, namespace, keepHistory)
		if err != nil {
			return nil, err
		}
		survey.Objects = append(survey.Objects, objects...)
	}
	if survey.NamespaceOurs && !keepHistory && !r.KeepNamespace {
		survey.Objects = append(survey.Objects, Object{kind: kindNamed("Namespace"), Name: namespace})
		if err := r.surveyForeign(ctx, survey); err != nil {
			return nil, err
		}
	}
	if err := r.surveyNodes(ctx, survey); err != nil {
		return nil, err
	}
	survey.Leader, err = r.outsideLeader(ctx, namespace)
	return survey, err
}

// find returns the objects of a kind that belong to the install, by label and by the names that
// the agent uses.
func (r *Remover) find(ctx context.Context, kind kind, namespace string, keepHistory bool) ([]Object, error) {
	client := kind.client(r.Objects, namespace)
	list, err := client.List(ctx, metav1.ListOptions{LabelSelector: ourSelector()})
	if apierrors.IsNotFound(err) {
		return nil, nil // A server older than the kind has none of it.
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", kind.resource, err)
	}
	var objects []Object
	found := map[string]bool{}
	for _, item := range list.Items {
		if keepHistory && item.GetLabels()[api.LabelRun] != "" {
			continue
		}
		found[item.GetName()] = true
		objects = append(objects, Object{kind: kind, Namespace: item.GetNamespace(), Name: item.GetName(), Record: item.GetLabels()[api.LabelRun] != "", HelmRelease: item.GetAnnotations()[AnnotationHelmRelease]})
	}
	for _, name := range kind.names {
		if found[name] {
			continue
		}
		item, err := client.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", objectName(kind.GroupVersionKind, name), err)
		}
		objects = append(objects, Object{kind: kind, Namespace: item.GetNamespace(), Name: name})
	}
	if name := kind.nameInDefault(); name != "" && namespace != metav1.NamespaceDefault {
		_, err := kind.client(r.Objects, metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("reading %s in namespace %s: %w", objectName(kind.GroupVersionKind, name), metav1.NamespaceDefault, err)
		}
		if err == nil {
			objects = append(objects, Object{kind: kind, Namespace: metav1.NamespaceDefault, Name: name})
		}
	}
	if !kind.inStepNamespaces() {
		return objects, nil
	}
	everywhere, err := kind.client(r.Objects, metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: ourSelector()})
	if err != nil {
		return nil, fmt.Errorf("listing %s in all namespaces: %w", kind.resource, err)
	}
	for _, item := range everywhere.Items {
		if item.GetNamespace() != namespace && strings.HasPrefix(item.GetName(), api.AgentSteps) {
			objects = append(objects, Object{kind: kind, Namespace: item.GetNamespace(), Name: item.GetName(), HelmRelease: item.GetAnnotations()[AnnotationHelmRelease]})
		}
	}
	return objects, nil
}

func (r *Remover) surveyNodes(ctx context.Context, survey *Survey) error {
	return cluster.EachNode(ctx, r.Nodes.CoreV1(), func(node *corev1.Node) error {
		if isMarked(node) {
			survey.Marked++
		}
		if api.HasFinalizer(node) {
			survey.Protected++
			if deleted := node.DeletionTimestamp != nil; deleted || cleanedUpAlive(node) {
				run, err := cluster.RunOf(ctx, r.Nodes, survey.Namespace, node)
				survey.Running = append(survey.Running, RunningNode{Name: node.Name, UID: node.UID, Deleted: deleted, Run: run, RunError: err})
				if deleted {
					return nil
				}
			}
		}
		if node.Annotations[api.AnnotationCordonedBy] != "" && node.Spec.Unschedulable {
			survey.Cordoned = append(survey.Cordoned, node.Name)
		}
		return nil
	})
}

// cleanedUpAlive: a cleanup on request is under way. One that failed rests, and its Node stays.
func cleanedUpAlive(node *corev1.Node) bool {
	condition := api.CleanupConditionOf(node)
	if condition == nil {
		return false
	}
	return slices.Contains([]api.State{api.Pending, api.Preflight, api.Running, api.Waiting, api.Blocked}, api.State(condition.Reason))
}

// outsideLeader returns the identity that renews the Lease, if it is not a Pod of the namespace.
func (r *Remover) outsideLeader(ctx context.Context, namespace string) (string, error) {
	lease := cluster.LeaseReader{Client: r.Nodes.CoordinationV1(), Namespace: namespace, Now: r.Now}
	leadership, err := lease.Read(ctx)
	if err != nil || leadership.Holder() == "" {
		return "", err
	}
	if inside, err := r.isPod(ctx, namespace, leadership.Holder()); inside || err != nil {
		return "", err
	}
	// The Pod may have been deleted a moment ago.
	if leadership, err = lease.Observe(ctx); err != nil {
		return "", err
	}
	if inside, err := r.isPod(ctx, namespace, leadership.Holder()); inside || err != nil {
		return "", err
	}
	return leadership.Holder(), nil
}

// isPod reports whether a holder of the Lease is a Pod of the namespace.
func (r *Remover) isPod(ctx context.Context, namespace, holder string) (bool, error) {
	pods, err := kindNamed("Pod").client(r.Objects, namespace).List(ctx, metav1.ListOptions{LabelSelector: ourSelector()})
	if err != nil {
		return false, fmt.Errorf("listing the agent's pods: %w", err)
	}
	return slices.ContainsFunc(pods.Items, func(pod unstructured.Unstructured) bool { return holds(&pod, holder) }), nil
}

// holds: an identity is a pod's name, or the name and something unique.
func holds(pod *unstructured.Unstructured, holder string) bool {
	name := pod.GetName()
	return len(holder) >= len(name) && holder[:len(name)] == name && (len(holder) == len(name) || holder[len(name)] == '_')
}
