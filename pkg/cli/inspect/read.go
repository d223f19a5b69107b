// Package inspect reads the state of an install and its cleanups, and assesses it. It
// only reads, and needs no agent to answer.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Reader reads how an install is. Keep it to read again: it has observed then whether the
// leader renews its lease.
type Reader struct {
	client    kubernetes.Interface
	namespace string
	lease     cluster.LeaseReader
}

// NewReader returns a reader of the install in a namespace. Now is the API server's time.
func NewReader(client kubernetes.Interface, namespace string, now func() time.Time) *Reader {
	return &Reader{
		client: client, namespace: namespace,
		lease: cluster.LeaseReader{Client: client.CoordinationV1(), Namespace: namespace, Now: now},
	}
}

// Snapshot holds the objects that were read from the cluster. A missing object is nil.
type Snapshot struct {
	Namespace  string
	Deployment *appsv1.Deployment
	// Stall is why the Deployment is not rolled out, nil if it is or that is not known.
	Stall *cluster.Stall
	// taintRemedy is what to do about a taint that keeps the agent's Pod from every Node, empty if none is known.
	taintRemedy string
	// earlierImage is the image of the agent before its Deployment was changed last, empty if it is not known.
	earlierImage string
	// ConfigFault is what is invalid in the config on the cluster. It is read only if the agent's Pods crash.
	ConfigFault string
	// NoConfig: ConfigFault is that there is no config, or a ConfigMap without its key.
	NoConfig bool
	// configChanged: the config on the cluster is valid, and was changed after the agent's Pod crashed. The Pod that
	// starts next reads it.
	configChanged bool
	Leadership    cluster.Leadership
	Status        *api.AgentStatus
	Webhook       *admissionv1.MutatingWebhookConfiguration
	Policy        *admissionv1.MutatingAdmissionPolicy
	Guard         *admissionv1.ValidatingWebhookConfiguration
	// GuardHidden: the caller may not see whether there is a guard.
	GuardHidden bool
	// Unreached is why the API server reaches no agent, nil if it does or that is not known.
	Unreached *Unreached
	// MissingGrants describes the roles and bindings that the agent lacks.
	MissingGrants []string
	// grants are the roles and bindings of the agent that exist. They are read only if some are missing.
	grants []metav1.Object

	Total, Protected int
	// Lacking are the labels of the nodes without the finalizer.
	Lacking []labels.Set
	// Selector chooses the nodes that the agent protects, nil if the config is not known.
	Selector labels.Selector
	// Leaving are the nodes that are being deleted, or cleaned up alive. Of a
	// large cluster nothing else is kept.
	Leaving []*corev1.Node
	// Marked are the live nodes with a bypass, also with one that has expired.
	Marked []*corev1.Node
	Runs   map[types.UID]*api.Run
	// Unreadable are the errors of run records that cannot be decoded.
	Unreadable map[types.UID]error
}

// All reads the install, the nodes, and the run records of the nodes that are leaving.
func (r *Reader) All(ctx context.Context) (*Snapshot, error) {
	s, err := r.Agent(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.readNodes(ctx, r.client); err != nil {
		return nil, err
	}
	s.ReadSelector(ctx, r.client)
	return s, s.ReadRuns(ctx, r.client)
}

// ReadSelector reads the nodeSelector of the config, if there are nodes without the finalizer. Without
// a valid config that the caller may read, each of them counts as unprotected.
func (s *Snapshot) ReadSelector(ctx context.Context, client kubernetes.Interface) {
	if len(s.Lacking) == 0 {
		return
	}
	if settings, err := preview.Config(ctx, client, s.Namespace); err == nil {
		s.Selector = settings.NodeSelector
	}
}

// Agent reads the install without nodes and run records.
func (r *Reader) Agent(ctx context.Context) (*Snapshot, error) {
	client, namespace := r.client, r.namespace
	s := &Snapshot{Namespace: namespace, Runs: map[types.UID]*api.Run{}, Unreadable: map[types.UID]error{}}
	var err error
	if s.Deployment, err = optional(client.AppsV1().Deployments(namespace).Get(ctx, api.Agent, metav1.GetOptions{})); err != nil {
		return nil, fmt.Errorf("reading deployment %s/%s: %w", namespace, api.Agent, err)
	}
	if err := s.readStall(ctx, client); err != nil {
		return nil, err
	}
	if s.Leadership, err = r.lease.Read(ctx); err != nil {
		return nil, err
	}
	if s.Webhook, err = optional(client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})); err != nil {
		return nil, fmt.Errorf("reading mutatingwebhookconfiguration %s: %w", api.WebhookName, err)
	}
	s.Policy, err = optional(client.AdmissionregistrationV1().MutatingAdmissionPolicies().Get(ctx, api.WebhookName, metav1.GetOptions{}))
	switch {
	case apierrors.IsForbidden(err):
		s.Policy = nil // Roles from before there was one; the webhook is assessed alone.
	case err != nil:
		return nil, fmt.Errorf("reading mutatingadmissionpolicy %s: %w", api.WebhookName, err)
	}
	s.Guard, err = optional(client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{}))
	switch {
	case apierrors.IsForbidden(err):
		s.Guard, s.GuardHidden = nil, true // Roles from before there was one.
	case err != nil:
		return nil, fmt.Errorf("reading validatingwebhookconfiguration %s: %w", api.WebhookName, err)
	}
	if s.Status, err = cluster.AgentStatus(ctx, client, namespace); err != nil {
		return nil, err
	}
	if err := s.readReach(ctx, client); err != nil {
		return nil, err
	}
	return s, s.readGrants(ctx, client)
}

// readStall reads the agent's Pods if its Deployment is not rolled out. Without the right to read
// them, the Deployment alone explains the state.
func (s *Snapshot) readStall(ctx context.Context, client kubernetes.Interface) error {
	if s.Deployment == nil || cluster.RolloutPending(s.Deployment) == "" {
		return nil
	}
	pods, err := client.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(s.Deployment.Spec.Selector)})
	switch {
	case apierrors.IsForbidden(err):
		pods = &corev1.PodList{}
	case err != nil:
		return fmt.Errorf("listing the agent's pods: %w", err)
	}
	s.Stall = cluster.RolloutStall(s.Deployment, pods.Items)
	switch {
	case s.Stall == nil:
	case s.Stall.Crashed:
		return s.readConfigFault(ctx, client)
	case s.Stall.Unschedulable:
		return s.readTaints(ctx, client, pods.Items)
	case s.Stall.Image:
		return s.readEarlierImage(ctx, client)
	}
	return nil
}

// readConfigFault checks the config: an agent does not start with an invalid one.
func (s *Snapshot) readConfigFault(ctx context.Context, client kubernetes.Interface) error {
	configMap, err := preview.ReadConfig(ctx, client, s.Namespace)
	if err == nil {
		_, err = preview.Config(ctx, client, s.Namespace)
	}
	var faults config.Errors
	var missing *exit.Error
	switch {
	case err == nil:
		if s.configChanged = !s.Stall.EndedAt.IsZero() && api.DataWrittenAt(configMap).After(s.Stall.EndedAt); s.configChanged {
			s.Stall.Text = "pod " + s.Stall.Pod + " ended before the config was changed, and waits for its restart; the config is valid now"
		}
	case errors.As(err, &faults):
		s.ConfigFault = faults.Error()
		s.nameConfig()
	case apierrors.IsForbidden(err):
	case errors.As(err, &missing):
		s.ConfigFault, s.NoConfig = missing.Error(), true
	default:
		return err
	}
	return nil
}

// nameConfig names the config and all its faults in the stall of a Pod whose last words are one of them.
func (s *Snapshot) nameConfig() {
	pod, exited, found := strings.Cut(s.Stall.Text, ": exit code ")
	_, last, said := strings.Cut(exited, ": ")
	if found && said && strings.Contains(s.ConfigFault, last) {
		s.Stall.Text = fmt.Sprintf("%s: the config in configmap %s/%s is invalid: %s", pod, s.Namespace, api.ConfigName, strings.ReplaceAll(s.ConfigFault, "\n", "; "))
	}
}

// optional turns "not found" into nil.
func optional[T any](object *T, err error) (*T, error) {
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return object, err
}

func (s *Snapshot) readNodes(ctx context.Context, client kubernetes.Interface) error {
	return cluster.EachNode(ctx, client.CoreV1(), func(node *corev1.Node) error {
		if s.count(node) {
			s.Leaving = append(s.Leaving, Trim(node))
		}
		return nil
	})
}

// count counts a node, and reports whether it is leaving.
func (s *Snapshot) count(node *corev1.Node) (leaving bool) {
	s.Total++
	if api.HasFinalizer(node) {
		s.Protected++
	} else {
		s.Lacking = append(s.Lacking, node.Labels)
	}
	if node.DeletionTimestamp == nil && node.Annotations[api.AnnotationBypass] != "" {
		s.Marked = append(s.Marked, Trim(node))
	}
	return IsLeaving(node)
}

// Trim keeps only the fields of a node that are shown. It removes fields such as images, because there
// may be many nodes. Labels of a node without the finalizer say whether the config selects it.
func Trim(node *corev1.Node) *corev1.Node {
	trimmed := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: node.Name, UID: node.UID, CreationTimestamp: node.CreationTimestamp,
			DeletionTimestamp: node.DeletionTimestamp, Finalizers: node.Finalizers, Annotations: shownAnnotations(node),
		},
		Spec:   corev1.NodeSpec{Unschedulable: node.Spec.Unschedulable},
		Status: corev1.NodeStatus{Conditions: node.Status.Conditions},
	}
	if !api.HasFinalizer(node) {
		trimmed.Labels = node.Labels
	}
	return trimmed
}

// IsLeaving reports whether a node is being deleted, or cleaned up alive.
func IsLeaving(node *corev1.Node) bool {
	if node.DeletionTimestamp != nil {
		return true
	}
	condition := api.CleanupConditionOf(node)
	if condition == nil { // No agent has seen the request yet.
		return node.Annotations[api.AnnotationCleanupRequestedAt] != ""
	}
	return !api.State(condition.Reason).Released() && condition.Reason != string(api.Canceled)
}

// ReadRuns reads the records of s.Leaving, and skips other records without decoding them.
func (s *Snapshot) ReadRuns(ctx context.Context, client kubernetes.Interface) error {
	s.Runs, s.Unreadable = map[types.UID]*api.Run{}, map[types.UID]error{}
	if len(s.Leaving) == 0 {
		return nil
	}
	wanted := map[string]bool{}
	for _, node := range s.Leaving {
		wanted[string(node.UID)] = true
	}
	return cluster.EachRun(ctx, client, s.Namespace, func(configMap *corev1.ConfigMap) {
		if wanted[configMap.Labels[api.LabelNodeUID]] {
			s.addRun(configMap)
		}
	})
}

// CleanupBegun reports whether nodecleanup has begun a cleanup of the node. Without the finalizer, it has
// released the node.
func (s *Snapshot) CleanupBegun(node *corev1.Node) bool {
	return api.CleanupConditionOf(node) != nil || s.Runs[node.UID] != nil || s.Unreadable[node.UID] != nil
}

func (s *Snapshot) addRun(configMap *corev1.ConfigMap) {
	uid := types.UID(configMap.Labels[api.LabelNodeUID])
	delete(s.Unreadable, uid)
	run, err := api.ReadRunOf(configMap, uid)
	if err != nil {
		s.Unreadable[uid] = err
		return
	}
	s.Runs[uid] = run
}

// SetNodes sets nodes and run records that were read by other means, such as a watch.
func (s *Snapshot) SetNodes(nodes []*corev1.Node, record func(name string) *corev1.ConfigMap) {
	s.Total, s.Protected, s.Lacking, s.Leaving, s.Marked = 0, 0, nil, nil, nil
	s.Runs, s.Unreadable = map[types.UID]*api.Run{}, map[types.UID]error{}
	for _, node := range nodes {
		if !s.count(node) {
			continue
		}
		s.Leaving = append(s.Leaving, node)
		if configMap := record(api.RunName(node.Name, node.UID)); configMap != nil {
			s.addRun(configMap)
		}
	}
}
