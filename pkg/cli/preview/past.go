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

// estimate adds up, wave by wave, the step that takes longest, each as long as
// it took in the middle of its past runs. 0 when the past says nothing.
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
	attached, err := Volumes(ctx, p.client, view.Node)
	if apierrors.IsForbidden(err) {
		view.Notes = append(view.Notes, "you are not allowed to list volumeattachments: volumes were not looked at")
		return nil
	}
	view.Volumes = attached
	return err
}

// Volumes returns the names of the PersistentVolumes that are attached to a node,
// sorted. The API server cannot select attachments by node, so all are read.
func Volumes(ctx context.Context, client kubernetes.Interface, node string) ([]string, error) {
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return client.StorageV1().VolumeAttachments().List(ctx, options)
	})
	var names []string
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		attachment, is := object.(*storagev1.VolumeAttachment)
		if !is || attachment.Spec.NodeName != node {
			return nil
		}
		name := attachment.Name
		if volume := attachment.Spec.Source.PersistentVolumeName; volume != nil {
			name = *volume
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing volumeattachments: %w", err)
	}
	slices.Sort(names)
	return names, nil
}
