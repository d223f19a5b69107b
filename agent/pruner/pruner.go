// Package pruner closes the unfinished run records of deleted Nodes, and deletes old records.
package pruner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// every is the time between two prunings.
const every = time.Hour

// pageSize is how many records are read by one request.
const pageSize = 500

// Pruner deletes the records of deleted Nodes: those older than history.maxAge, and the oldest
// ones beyond history.maxRuns. It keeps those that cannot be decoded. All fields are required.
type Pruner struct {
	// ConfigMaps are those of the namespace with the records.
	ConfigMaps corev1client.ConfigMapInterface
	// Nodes reads whether the Node of an unfinished record is really deleted.
	Nodes corev1client.NodeInterface
	// NodeRemoved is called with each record that is closed.
	NodeRemoved func(run *api.Run)
	// History returns the limits of the active config.
	History func() config.History
	// Fence returns an error when this agent may no longer act as the leader.
	Fence func() error
	Clock clock.WithTicker
	Log   *slog.Logger
}

// Run prunes now and every hour, until ctx ends. It keeps the records of the Nodes whose UIDs
// present returns, and calls live with each of them.
func (p *Pruner) Run(ctx context.Context, present func() sets.Set[types.UID], live func(run *api.Run)) {
	ticker := p.Clock.NewTicker(every)
	defer ticker.Stop()
	for {
		deleted, err := p.prune(ctx, present, live)
		if err != nil && ctx.Err() == nil {
			p.Log.Error("pruning run records failed, retrying in an hour", "err", err)
		}
		if deleted > 0 {
			p.Log.Info("old run records deleted", "deleted", deleted)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// ended is a record of a Node that is deleted.
type ended struct {
	name string
	uid  types.UID
	at   time.Time
}

func (p *Pruner) prune(ctx context.Context, present func() sets.Set[types.UID], live func(run *api.Run)) (deleted int, err error) {
	if p.Fence() != nil {
		return 0, nil // The next leader prunes.
	}
	// A failure for one record does not stop the others.
	records, err := p.endedRecords(ctx, present(), live)
	slices.SortFunc(records, func(a, b ended) int { return b.at.Compare(a.at) })
	history, now := p.History(), p.Clock.Now()
	for i, record := range records {
		if ctx.Err() != nil {
			return deleted, errors.Join(err, ctx.Err())
		}
		if i < history.MaxRuns && now.Sub(record.at) <= history.MaxAge {
			continue
		}
		failed := p.ConfigMaps.Delete(ctx, record.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &record.uid}})
		switch {
		case failed == nil:
			deleted++
		case apierrors.IsNotFound(failed), apierrors.IsConflict(failed): // Another client deleted it.
		default:
			err = errors.Join(err, fmt.Errorf("deleting run record %s: %w", record.name, failed))
		}
	}
	return deleted, err
}

// endedRecords closes the unfinished records of deleted Nodes and returns all records of deleted
// Nodes. It calls live for each record of an existing Node. It omits a record that it cannot close,
// and joins the errors. If a list request fails, it returns no records.
func (p *Pruner) endedRecords(ctx context.Context, present sets.Set[types.UID], live func(run *api.Run)) ([]ended, error) {
	var records []ended
	var failed error
	options := metav1.ListOptions{LabelSelector: labels.Set{api.LabelRun: "true"}.String(), Limit: pageSize}
	for {
		list, err := p.ConfigMaps.List(ctx, options)
		if err != nil {
			return nil, errors.Join(failed, fmt.Errorf("listing run records: %w", err))
		}
		for i := range list.Items {
			configMap := &list.Items[i]
			run, err := api.DecodeRun(configMap)
			if err != nil {
				continue
			}
			if present.Has(run.NodeUID) {
				live(run)
				continue
			}
			if run.FinishedAt == nil && !run.State.Released() {
				if err := p.closeRecord(ctx, configMap, run); err != nil {
					failed = errors.Join(failed, err)
					continue
				}
			}
			at := run.StartedAt.Time
			if run.FinishedAt != nil {
				at = run.FinishedAt.Time
			}
			records = append(records, ended{configMap.Name, configMap.UID, at})
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return records, failed
		}
	}
}
