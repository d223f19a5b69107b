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
	// metadataPage is how many Nodes are read at once of which the metadata is wanted.
	metadataPage = 1000
	// firstPage is how many of which all is: nearly always one of them takes pods. Where
	// none does, all Nodes are read, nextPage at once.
	firstPage = 50
	nextPage  = 500
)

// own reads what no deletion at the same time matters to. Every read is of the newest state:
// nothing is asked of a cache that may lag behind.
func (g *Guard) own(ctx context.Context, guard config.Guard, node *corev1.Node, asked []Rule) Facts {
	facts := Facts{OtherSchedulable: true, Unread: map[Rule]error{}}
	if slices.Contains(asked, CriticalPods) {
		var err error
		if facts.CriticalPods, err = g.criticalPods(ctx, guard.CriticalPods, node.Name); err != nil {
			facts.Unread[CriticalPods] = err
		}
	}
	return facts
}

// common is what was read for all the deletions that are decided together.
type common struct {
	*book
	rules []Rule
	// terminating are the names of all Nodes that do or, by the book, are about to.
	terminating map[types.UID]string
	nodes       int
	// schedulable are some that take pods, and all of them where they are few.
	schedulable []types.UID
	unread      map[Rule]error
}

// readCommon reads what the booked rules ask for, about so many Nodes.
func (g *Guard) readCommon(ctx context.Context, rules []Rule, about int) *common {
	c := &common{rules: rules, unread: map[Rule]error{}}
	// Before the Nodes: what is taken out of the book meanwhile is seen on them.
	var err error
	if c.book, err = g.readBook(ctx); err != nil {
		for _, rule := range rules {
			c.unread[rule] = err
		}
		return c
	}
	readers := map[Rule]func() error{
		LastSchedulable: func() (err error) {
			c.schedulable, err = g.schedulable(ctx, about+1, c.book)
			return err
		},
		MaxTerminating: func() (err error) {
			c.terminating, c.nodes, err = g.terminating(ctx, c.book)
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
			c.unread[rule] = errs[i]
		}
	}
	return c
}

// about adds to the facts what is so for one Node.
func (c *common) about(facts Facts, node *corev1.Node) Facts {
	facts.Unread = maps.Clone(facts.Unread)
	maps.Copy(facts.Unread, c.unread)
	facts.Terminating, facts.Nodes = nil, c.nodes
	for uid, name := range c.terminating {
		if uid != node.UID {
			facts.Terminating = append(facts.Terminating, name)
		}
	}
	slices.Sort(facts.Terminating)
	facts.OtherSchedulable = !slices.Contains(c.rules, LastSchedulable) || slices.ContainsFunc(c.schedulable, func(uid types.UID) bool {
		_, leaving := c.allowed[uid]
		return uid != node.UID && !leaving
	})
	return facts
}

// leaves has a Node count as one whose deletion was allowed, for those that are decided next.
func (c *common) leaves(node *corev1.Node, until time.Time) {
	c.allowed[node.UID] = entry{node.UID, metav1.NewTime(until)}
	if c.terminating != nil {
		c.terminating[node.UID] = node.Name
	}
}

// there reports whether that Node, and no other of the name, is known not to be gone. Where
// that cannot be told it is taken to be there: what is read next fails as well then.
func (g *Guard) there(ctx context.Context, node *corev1.Node) bool {
	live, err := g.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).Get(ctx, node.Name, metav1.GetOptions{})
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	return live.UID == node.UID
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

// schedulable returns Nodes that take pods and whose deletion was not allowed a moment ago,
// so many or all that there are.
func (g *Guard) schedulable(ctx context.Context, enough int, written *book) (found []types.UID, err error) {
	options := metav1.ListOptions{FieldSelector: "spec.unschedulable=false", Limit: firstPage}
	for {
		page, err := g.Client.CoreV1().Nodes().List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("listing nodes: %w", err)
		}
		for i := range page.Items {
			node := &page.Items[i]
			if _, leaving := written.allowed[node.UID]; !leaving && schedulable(node) {
				found = append(found, node.UID)
			}
		}
		if options.Continue, options.Limit = page.Continue, nextPage; options.Continue == "" || len(found) >= enough {
			return found, nil
		}
	}
}

// terminating returns the names of the Nodes that terminate or, by the book, are about to, and
// how many Nodes there are. One in the book that is gone counts no longer.
func (g *Guard) terminating(ctx context.Context, written *book) (names map[types.UID]string, nodes int, err error) {
	names = map[types.UID]string{}
	options := metav1.ListOptions{Limit: metadataPage}
	for {
		page, err := g.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).List(ctx, options)
		if err != nil {
			return nil, 0, fmt.Errorf("listing nodes: %w", err)
		}
		for _, node := range page.Items {
			nodes++
			if _, allowed := written.allowed[node.UID]; allowed || node.DeletionTimestamp != nil {
				names[node.UID] = node.Name
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return names, nodes, nil
		}
	}
}
