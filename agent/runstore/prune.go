package runstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// pageSize is how many records are read by one request.
const pageSize = 500

// ended is a record of a Node that is deleted.
type ended struct {
	name string
	uid  types.UID
	at   time.Time
}

// Prune deletes records of deleted Nodes: those older than history.MaxAge, and the oldest
// ones beyond history.MaxRuns. It keeps the records of Nodes for which present returns true,
// and those that cannot be decoded. It returns how many it deleted.
func (s *Store) Prune(ctx context.Context, history config.History, now time.Time, present func(types.UID) bool) (int, error) {
	records, err := s.ended(ctx, present)
	if err != nil {
		return 0, err
	}
	slices.SortFunc(records, func(a, b ended) int { return b.at.Compare(a.at) })
	deleted := 0
	for i, record := range records {
		if i < history.MaxRuns && now.Sub(record.at) <= history.MaxAge {
			continue
		}
		err := s.configMaps.Delete(ctx, record.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &record.uid}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return deleted, fmt.Errorf("deleting run record %s/%s: %w", s.namespace, record.name, err)
		}
		deleted++
	}
	return deleted, nil
}

func (s *Store) ended(ctx context.Context, present func(types.UID) bool) ([]ended, error) {
	var records []ended
	err := s.each(ctx, func(configMap *corev1.ConfigMap) {
		run, err := api.DecodeRun(configMap)
		if err != nil || present(run.NodeUID) {
			return
		}
		at := run.StartedAt.Time
		if run.FinishedAt != nil {
			at = run.FinishedAt.Time
		}
		records = append(records, ended{configMap.Name, configMap.UID, at})
	})
	return records, err
}

func (s *Store) each(ctx context.Context, do func(*corev1.ConfigMap)) error {
	options := metav1.ListOptions{LabelSelector: labels.Set{api.LabelRun: "true"}.String(), Limit: pageSize}
	for {
		list, err := s.configMaps.List(ctx, options)
		if err != nil {
			return fmt.Errorf("listing run records in namespace %s: %w", s.namespace, err)
		}
		for i := range list.Items {
			do(&list.Items[i])
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return nil
		}
	}
}
