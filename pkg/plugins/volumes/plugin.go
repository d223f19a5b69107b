// Package volumes is the plugin that waits until the volumes of a Node's drained Pods are detached. A
// Pod that starts elsewhere cannot mount a volume that is still attached here. If the Node is deleted
// first, the volume can stay attached.
package volumes

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

//go:embed schema.json
var schema []byte

// options are the options of the plugin. The step's timeout limits the wait.
type options struct {
	// SkipPods are Pods whose volumes stay attached. List the Pods that a rule of the drain skips.
	// Otherwise the step waits for their volumes.
	SkipPods []pods.Selector `json:"skipPods"`
}

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	for i := range o.SkipPods {
		path := fmt.Sprintf("skipPods[%d]", i)
		faults = append(faults, o.SkipPods[i].Validate(path)...)
		if o.SkipPods[i].Everything() {
			faults = append(faults, cleanup.OptionError{Path: path, Problem: "selects all Pods: set namespaces or a selector"})
		}
	}
	return faults
}

type plugin struct {
	options
	client      kubernetes.Interface
	clock       clock.Clock
	attachments *attachments
}

// Descriptor describes the plugin. All its steps share one watch of
// VolumeAttachments, which is open while one of them waits.
func Descriptor(client kubernetes.Interface, clock clock.Clock) cleanup.Descriptor {
	shared := &attachments{client: client}
	return cleanup.Descriptor{
		Name:           "volumes",
		Summary:        "waits until the volumes of the drained pods are detached",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 15 * time.Minute},
		Schema:         schema,
		DefaultOptions: options{},
		Bind: cleanup.Options(options{}, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, client: client, clock: clock, attachments: shared}, nil
		}),
	}
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	node, err := p.sameNode(ctx, target.Node)
	if err != nil {
		return err
	}
	watch, err := p.attachments.of(ctx, node.Name)
	if err != nil {
		return fmt.Errorf("listing volumeattachments: %w", err)
	}
	defer watch.stop()
	claims := claims{client: p.client.CoreV1(), volumes: map[claim]string{}}
	progress := ""
	for {
		remaining, poll, err := p.awaited(ctx, node, watch.list(), &claims)
		if err != nil && progress != "" {
			err = fmt.Errorf("%s: %w", progress, err)
		}
		if err != nil {
			return err
		}
		if len(remaining) == 0 {
			return nil
		}
		progress = p.describe(remaining, node)
		target.Progress(progress)
		if err := p.wait(ctx, watch.changed, poll); err != nil {
			return fmt.Errorf("%s: %w", progress, err)
		}
	}
}

// pollPeriod is the time between two reads of unwatched state: in-tree volumes, and Pods that
// tolerate the cordon. Such a Pod may be recreated after its eviction and stay, while its volume
// stays attached.
const pollPeriod = 10 * time.Second

// wait returns when a VolumeAttachment changed or, with poll, after pollPeriod.
func (p *plugin) wait(ctx context.Context, changed <-chan struct{}, poll bool) error {
	var due <-chan time.Time
	if poll {
		timer := p.clock.NewTimer(pollPeriod)
		defer timer.Stop()
		due = timer.C()
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-due:
	}
	return nil
}

// sameNode returns the current Node if it has the same UID. The volumes of a recreated Node do not
// count.
func (p *plugin) sameNode(ctx context.Context, want *corev1.Node) (*corev1.Node, error) {
	node, err := p.client.CoreV1().Nodes().Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case api.Absent(err) || err == nil && node.UID != want.UID:
		return nil, cleanup.Permanent(fmt.Errorf("waiting for the volumes of node %s: the node with UID %s no longer exists", want.Name, want.UID))
	case err != nil:
		return nil, fmt.Errorf("reading node %s: %w", want.Name, err)
	}
	return node, nil
}

// remaining returns the attachments that Cleanup would wait for now.
func (p *plugin) remaining(ctx context.Context, node *corev1.Node) ([]attached, error) {
	watch, err := p.attachments.of(ctx, node.Name)
	if err != nil {
		return nil, fmt.Errorf("listing volumeattachments: %w", err)
	}
	defer watch.stop()
	claims := claims{client: p.client.CoreV1(), volumes: map[claim]string{}}
	remaining, _, err := p.awaited(ctx, node, watch.list(), &claims)
	return remaining, err
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	remaining, err := p.remaining(ctx, target.Node)
	if err != nil {
		return nil, err
	}
	if len(remaining) == 0 {
		return []cleanup.Effect{{Action: cleanup.Skip, Reason: "no volume of an evicted pod is attached"}}, nil
	}
	var effects []cleanup.Effect
	for _, one := range remaining {
		effects = append(effects, one.effect())
	}
	return effects, nil
}

// CheckHealth implements cleanup.HealthChecker: it checks the right to list VolumeAttachments.
func (p *plugin) CheckHealth(ctx context.Context) error {
	if _, err := p.client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
		return fmt.Errorf("listing volumeattachments: %w", err)
	}
	return nil
}
