package preview

import (
	"context"
	"fmt"
	"slices"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// estimate sums the longest step of each wave. The duration of a step is the median of its past
// runs. The result is 0 without past runs.
func (p *Previewer) estimate(planned plan.Plan) time.Duration {
	var sum time.Duration
	for _, wave := range planned.Waves {
		var longest time.Duration
		for _, step := range wave {
			longest = max(longest, median(p.took[step.Name]))
		}
		sum += longest
	}
	return sum
}

func median(lengths []time.Duration) time.Duration {
	if len(lengths) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(lengths))
	return sorted[len(sorted)/2]
}

func (p *Previewer) volumes(ctx context.Context, view *printer.Plan) error {
	// Once for all nodes: each time is all attachments of the cluster.
	p.readVolumes.Do(func() { p.attached, p.attachedErr = attachments(ctx, p.client) })
	if apierrors.IsForbidden(p.attachedErr) {
		view.Notes = append(view.Notes, "you are not allowed to list volumeattachments: volumes not checked")
		return nil
	}
	view.Volumes = p.attached[view.Node]
	return p.attachedErr
}

// Volumes returns the names of the PersistentVolumes that are attached to a node, sorted.
func Volumes(ctx context.Context, client kubernetes.Interface, node string) ([]string, error) {
	all, err := attachments(ctx, client)
	return all[node], err
}

// attachments returns the names of the PersistentVolumes that are attached, sorted, by
// node: the API server cannot select attachments by that.
func attachments(ctx context.Context, client kubernetes.Interface) (map[string][]string, error) {
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return client.StorageV1().VolumeAttachments().List(ctx, options)
	})
	names := map[string][]string{}
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		attachment, is := object.(*storagev1.VolumeAttachment)
		if !is {
			return nil
		}
		name := attachment.Name
		if volume := attachment.Spec.Source.PersistentVolumeName; volume != nil {
			name = *volume
		}
		names[attachment.Spec.NodeName] = append(names[attachment.Spec.NodeName], name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing volumeattachments: %w", err)
	}
	for node := range names {
		slices.Sort(names[node])
	}
	return names, nil
}
