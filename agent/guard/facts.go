package guard

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

const (
	// metadataPage is how many Nodes are read at once of which the metadata is wanted.
	metadataPage = 1000
	// firstPage is how many of which all is: nearly always one of them takes pods. Where
	// none does, all Nodes are read, nextPage at once.
	firstPage = 50
	nextPage  = 500
)

// read reads what the rules ask for. Every read is of the newest state: nothing is asked
// of a cache that may lag behind. The book is nil where no rule asks for it.
func (g *Guard) read(ctx context.Context, guard config.Guard, node *corev1.Node, asked []Rule) (Facts, *book) {
	var mutex sync.Mutex
	facts := Facts{Unread: map[Rule]error{}}
	var written *book
	if inBook := booked(asked); len(inBook) > 0 {
		// Before the Nodes: what is taken out of the book meanwhile is seen on them.
		var err error
		if written, err = g.readBook(ctx); err != nil {
			facts = unread(inBook, err)
		}
	}
	readers := map[Rule]func() error{
		CriticalPods: func() (err error) {
			facts.CriticalPods, err = g.criticalPods(ctx, guard.CriticalPods, node.Name)
			return err
		},
		LastSchedulable: func() (err error) {
			facts.OtherSchedulable, err = g.otherSchedulable(ctx, node.UID, written)
			return err
		},
		MaxTerminating: func() (err error) {
			facts.Terminating, facts.Nodes, err = g.terminating(ctx, node.UID, written)
			return err
		},
	}
	readable := slices.DeleteFunc(slices.Clone(asked), func(rule Rule) bool { return facts.Unread[rule] != nil })
	var group sync.WaitGroup
	for _, rule := range readable {
		group.Go(func() {
			if err := readers[rule](); err != nil {
				mutex.Lock()
				defer mutex.Unlock()
				facts.Unread[rule] = err
			}
		})
	}
	group.Wait()
	return facts, written
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
		if owner := metav1.GetControllerOf(&pod); owner != nil && owner.Kind == "DaemonSet" || pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
			continue
		}
		if slices.ContainsFunc(critical, func(one config.PodSelector) bool { return one.Matches(pod.Namespace, labels.Set(pod.Labels)) }) {
			found = append(found, pod.Namespace+"/"+pod.Name)
		}
	}
	return found, nil
}

// otherSchedulable reports whether another Node takes pods, one whose deletion was not
// allowed a moment ago.
func (g *Guard) otherSchedulable(ctx context.Context, but types.UID, written *book) (bool, error) {
	options := metav1.ListOptions{FieldSelector: "spec.unschedulable=false", Limit: firstPage}
	for {
		page, err := g.Client.CoreV1().Nodes().List(ctx, options)
		if err != nil {
			return false, fmt.Errorf("listing nodes: %w", err)
		}
		for i := range page.Items {
			node := &page.Items[i]
			if _, leaving := written.allowed[node.UID]; node.UID != but && !leaving && schedulable(node) {
				return true, nil
			}
		}
		if options.Continue, options.Limit = page.Continue, nextPage; options.Continue == "" {
			return false, nil
		}
	}
}

// terminating returns the names of the other Nodes that terminate or, by the book, are about
// to, sorted, and how many Nodes there are. One in the book that is gone counts no longer.
func (g *Guard) terminating(ctx context.Context, but types.UID, written *book) (names []string, nodes int, err error) {
	options := metav1.ListOptions{Limit: metadataPage}
	for {
		page, err := g.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).List(ctx, options)
		if err != nil {
			return nil, 0, fmt.Errorf("listing nodes: %w", err)
		}
		for _, node := range page.Items {
			nodes++
			if _, allowed := written.allowed[node.UID]; node.UID != but && (allowed || node.DeletionTimestamp != nil) {
				names = append(names, node.Name)
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			slices.Sort(names)
			return names, nodes, nil
		}
	}
}
