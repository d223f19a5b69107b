// Package checker checks the rules for a released Node, from the history of the cluster alone. It
// shares no code with the agent: it implements the rules of Kubernetes (see kubectl drain) and of
// the documents a second time.
//
// Apply is called with every version of every object in the order of etcd's revisions, which is
// one order for all kinds. So the checker knows the exact state at the revision of a release.
package checker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Event is one version of one object: it was written, or it was deleted.
type Event struct {
	Revision int64
	// At is when the event was received.
	At time.Time
	// Object is a *corev1.Node, *corev1.Pod, *storagev1.VolumeAttachment or *corev1.ConfigMap, as
	// written. For a deletion, it is the last version.
	Object  any
	Deleted bool
}

// Options describe the guarantees of the config.
type Options struct {
	// Namespace of the run records.
	Namespace string
	// Steps are the critical steps of the config.
	Steps []string
	// Calls are the steps that call a service. The service reports by Called whether it has
	// answered.
	Calls []string
	// Called reports whether the service has accepted a call with that idempotency key.
	Called func(key string) bool
	// Window is the maximum time between the start of the verification and the end of a run. A Pod
	// that was bound later is a race, which no reader can prevent, and not a violation.
	Window time.Duration
}

// Finding is a release that broke a promise.
type Finding struct {
	Revision int64
	Node     string
	UID      types.UID
	What     string
}

// String returns one line.
func (f Finding) String() string {
	return fmt.Sprintf("revision %d: node %s (%s): %s", f.Revision, f.Node, f.UID, f.What)
}

// Report holds the number of releases and the findings.
type Report struct {
	// Released are the Nodes that lost the finalizer after their cleanup, Bypassed and Overridden those
	// that lost it without.
	Released, Bypassed, Overridden int
	Violations                     []Finding
	// Races are Pods and attachments that came, and cordons and records that went, after the
	// verification.
	Races []Finding
}

// Checker is the state of the cluster at one revision. It is not safe for concurrent use.
type Checker struct {
	options     Options
	nodes       map[string]*corev1.Node
	uncordoned  map[string]mark // since when a Node is schedulable
	pods        map[types.UID]*bound
	attachments map[string]*attached
	records     map[types.UID]*record
	lost        map[types.UID]mark // where a record was deleted
	declared    map[types.UID]string
	report      Report
}

// mark is a place in the history.
type mark struct {
	revision int64
	at       time.Time
}

type bound struct {
	*corev1.Pod
	// since is when the Pod was bound to its Node; scheduled: by an update, not by its creator.
	since     mark
	scheduled bool
}

type attached struct {
	*storagev1.VolumeAttachment
	since mark
}

// New returns a checker of an empty cluster.
func New(options Options) *Checker {
	return &Checker{
		options: options, nodes: map[string]*corev1.Node{}, uncordoned: map[string]mark{}, pods: map[types.UID]*bound{},
		attachments: map[string]*attached{}, records: map[types.UID]*record{}, lost: map[types.UID]mark{}, declared: map[types.UID]string{},
	}
}

// Declare announces to the checker that a user is about to remove the finalizer of a Node by hand.
func (c *Checker) Declare(uid types.UID, why string) { c.declared[uid] = why }

// Undeclare takes that back: it did not happen.
func (c *Checker) Undeclare(uid types.UID) { delete(c.declared, uid) }

// Report returns the findings so far.
func (c *Checker) Report() Report {
	report := c.report
	report.Violations, report.Races = slices.Clone(report.Violations), slices.Clone(report.Races)
	return report
}

// Nodes returns the current Nodes, by name. The caller must not change them.
func (c *Checker) Nodes() []*corev1.Node {
	var nodes []*corev1.Node
	for _, node := range c.nodes {
		nodes = append(nodes, node)
	}
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// Pods returns the current Pods, by namespace and name. The caller must not change them.
func (c *Checker) Pods() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range c.pods {
		pods = append(pods, pod.Pod)
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return pods
}

// Apply moves the state on by one event.
func (c *Checker) Apply(event Event) {
	here := mark{event.Revision, event.At}
	switch object := event.Object.(type) {
	case *corev1.Node:
		c.node(here, object, event.Deleted)
	case *corev1.Pod:
		c.pod(here, object, event.Deleted)
	case *storagev1.VolumeAttachment:
		known := c.attachments[object.Name]
		switch {
		case event.Deleted:
			delete(c.attachments, object.Name)
		case known != nil && known.UID == object.UID:
			known.VolumeAttachment = object
		default:
			c.attachments[object.Name] = &attached{object, here}
		}
	case *corev1.ConfigMap:
		c.record(here, object, event.Deleted)
	}
}

func (c *Checker) pod(here mark, pod *corev1.Pod, deleted bool) {
	known := c.pods[pod.UID]
	switch {
	case deleted:
		delete(c.pods, pod.UID)
	case known == nil:
		c.pods[pod.UID] = &bound{Pod: pod, since: here}
	default:
		if known.Spec.NodeName != pod.Spec.NodeName {
			known.since, known.scheduled = here, true
		}
		known.Pod = pod
	}
}

func (c *Checker) node(here mark, node *corev1.Node, deleted bool) {
	before := c.nodes[node.Name]
	if deleted {
		// No version of a deleted object lacks its last finalizer: the API server deletes the object
		// instead. So a Node that is deleted with our finalizer was released in this revision.
		if before == nil {
			before = node
		}
		c.released(here, before)
		delete(c.nodes, node.Name)
		delete(c.uncordoned, node.Name)
		return
	}
	c.nodes[node.Name] = node
	if node.Spec.Unschedulable {
		delete(c.uncordoned, node.Name)
	} else if _, known := c.uncordoned[node.Name]; !known {
		c.uncordoned[node.Name] = here
	}
	// A live Node that loses the finalizer is not released: the agent adds it again.
	if before != nil && before.UID == node.UID && protected(before) && !protected(node) && node.DeletionTimestamp != nil {
		c.released(here, before)
	}
}
