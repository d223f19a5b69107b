package guard

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

const (
	// metadataPage is how many Nodes are read at once, metadata only.
	metadataPage = 1000
	// firstPage is how many whole Nodes are read first: nearly always one of them is
	// schedulable. If none is, all Nodes are read, nextPage at once.
	firstPage = 50
	nextPage  = 500
)

// readNode returns the live Node, or nil if there is none with that UID. It reads the newest
// state, as every read here does: a cache may lag behind.
func (g *Guard) readNode(ctx context.Context, request Request) (*corev1.Node, error) {
	node, err := g.Client.CoreV1().Nodes().Get(ctx, request.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case node.UID != request.UID:
		return nil, nil
	}
	return node, nil
}

// readOwn reads the facts that no other deletion changes.
func (g *Guard) readOwn(ctx context.Context, facts *Facts, guard config.DeleteGuard, node string, needed []Rule) {
	if !slices.Contains(needed, CriticalPods) {
		return
	}
	var err error
	if facts.CriticalPods, err = g.criticalPods(ctx, guard.CriticalPods, node); err != nil {
		facts.Unread[CriticalPods] = err
	}
}

// sharedFacts are read once for all deletions of a batch.
type sharedFacts struct {
	*ledger
	// terminating are the names of all Nodes that are terminating or have a reservation.
	terminating map[types.UID]string
	nodes       int
	// schedulable are as many schedulable Nodes as the batch needs, or all of them.
	schedulable []types.UID
	unread      map[Rule]error
}

// readShared reads what the shared rules need for so many deletions.
func (g *Guard) readShared(ctx context.Context, ledger *ledger, rules []Rule, about int) *sharedFacts {
	s := &sharedFacts{ledger: ledger, unread: map[Rule]error{}}
	readers := map[Rule]func() error{
		LastSchedulable: func() (err error) {
			s.schedulable, err = g.schedulable(ctx, about+1, ledger)
			return err
		},
		MaxTerminating: func() (err error) {
			s.terminating, s.nodes, err = g.terminating(ctx, ledger)
			return err
		},
	}
	errs := make([]error, len(rules))
	var group sync.WaitGroup
	for i, rule := range rules {
		group.Go(func() { errs[i] = readers[rule]() })
	}
	group.Wait()
	for i, rule := range rules {
		if errs[i] != nil {
			s.unread[rule] = errs[i]
		}
	}
	return s
}

// about adds to the facts what the rules need for one Node.
func (s *sharedFacts) about(node *corev1.Node, facts Facts, rules []Rule) Facts {
	facts.Unread = maps.Clone(facts.Unread)
	for _, rule := range rules {
		if err := s.unread[rule]; err != nil {
			facts.Unread[rule] = err
		}
	}
	if slices.Contains(rules, LastSchedulable) {
		facts.OtherSchedulable = slices.ContainsFunc(s.schedulable, func(uid types.UID) bool { return uid != node.UID && !s.isReserved(uid) })
	}
	facts.Terminating, facts.Nodes = nil, s.nodes
	for uid, name := range s.terminating {
		if uid != node.UID {
			facts.Terminating = append(facts.Terminating, name)
		}
	}
	slices.Sort(facts.Terminating)
	return facts
}

// reserve counts the Node as one that is about to terminate, for the deletions that are
// evaluated next.
func (s *sharedFacts) reserve(deletion Deletion, rules []Rule, now time.Time) {
	s.ledger.reserve(deletion, rules, now)
	if s.terminating != nil {
		s.terminating[deletion.UID] = deletion.Name
	}
}

// criticalPods returns those pods of a Node that a selector chooses, as namespace/name.
// Finished pods do not count, nor those that no drain can move: of DaemonSets, and static ones.
func (g *Guard) criticalPods(ctx context.Context, critical []config.PodSelector, node string) ([]string, error) {
	list, err := g.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("pods")).List(ctx, metav1.ListOptions{
		FieldSelector: fields.AndSelectors(
			fields.OneTermEqualSelector("spec.nodeName", node),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
		).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of the node: %w", err)
	}
	var found []string
	for _, pod := range list.Items {
		if pods.NodeBound(&pod) {
			continue
		}
		if slices.ContainsFunc(critical, func(one config.PodSelector) bool { return one.Matches(pod.Namespace, labels.Set(pod.Labels)) }) {
			found = append(found, pod.Namespace+"/"+pod.Name)
		}
	}
	return found, nil
}

// schedulable returns Nodes that are schedulable and have no reservation: enough of them, or
// all.
func (g *Guard) schedulable(ctx context.Context, enough int, ledger *ledger) (found []types.UID, err error) {
	options := metav1.ListOptions{FieldSelector: "spec.unschedulable=false", Limit: firstPage}
	for {
		page, err := g.Client.CoreV1().Nodes().List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("listing nodes: %w", err)
		}
		for i := range page.Items {
			node := &page.Items[i]
			if !ledger.isReserved(node.UID) && schedulable(node) {
				found = append(found, node.UID)
			}
		}
		if options.Continue, options.Limit = page.Continue, nextPage; options.Continue == "" || len(found) >= enough {
			return found, nil
		}
	}
}

// terminating returns the names of the Nodes that are terminating or have a reservation, and
// the number of Nodes. A reservation whose Node is removed does not count.
func (g *Guard) terminating(ctx context.Context, ledger *ledger) (names map[types.UID]string, nodes int, err error) {
	names = map[types.UID]string{}
	options := metav1.ListOptions{Limit: metadataPage}
	for {
		page, err := g.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).List(ctx, options)
		if err != nil {
			return nil, 0, fmt.Errorf("listing nodes: %w", err)
		}
		for _, node := range page.Items {
			nodes++
			if node.DeletionTimestamp != nil || ledger.isReserved(node.UID) {
				names[node.UID] = node.Name
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return names, nodes, nil
		}
	}
}
