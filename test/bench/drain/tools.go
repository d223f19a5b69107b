package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	kubectldrain "k8s.io/kubectl/pkg/drain"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
)

// The names of the tools. The API server knows each by a user of that name.
const (
	kubectl   = "kubectl"
	karpenter = "karpenter"
	ours      = "ours"
)

// callers are the numbers of concurrent callers of the floors, which only send evictions.
var callers = []int{4, 8}

func floorOf(callers int) string { return fmt.Sprintf("floor-%d", callers) }

func (b *bench) newTools(ctx context.Context) ([]tool, error) {
	if err := b.installKarpenter(ctx); err != nil {
		return nil, fmt.Errorf("installing Karpenter's CRDs: %w", err)
	}
	tools := []tool{simple(kubectl, b.kubectl), {name: karpenter, start: b.startKarpenter}}
	for _, n := range callers {
		tools = append(tools, simple(floorOf(n), func(ctx context.Context, nodes []*corev1.Node) error { return b.floor(ctx, nodes, n) }))
	}
	return append(tools, simple(ours, b.ours)), nil
}

// simple is a tool that needs no preparation.
func simple(name string, drain func(context.Context, []*corev1.Node) error) tool {
	return tool{name: name, start: func(context.Context) (func(context.Context, []*corev1.Node) error, func() error, error) {
		return drain, func() error { return nil }, nil
	}}
}

// configOf returns a config with the rights of an administrator, the name of a tool and no client-side rate limit.
func (b *bench) configOf(tool string) *rest.Config {
	config := b.cluster.RESTConfigFor(tool, "system:masters")
	config.UserAgent = tool
	return config
}

// kubectl drains as RunDrain of k8s.io/kubectl/pkg/cmd/drain does for NODE...: it cordons all
// Nodes, and drains one after the other.
func (b *bench) kubectl(ctx context.Context, nodes []*corev1.Node) error {
	config := b.configOf(kubectl)
	config.QPS = 0 // kubectl keeps the client's default of 5 requests per second and API group, and bursts of 10.
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	helper := &kubectldrain.Helper{
		Ctx: ctx, Client: client, GracePeriodSeconds: -1, EvictErrorRetryDelay: 5 * time.Second,
		IgnoreAllDaemonSets: true, DeleteEmptyDirData: true, ChunkSize: cmdutil.DefaultChunkSize,
		Out: io.Discard, ErrOut: io.Discard,
	}
	for _, node := range nodes {
		if err := kubectldrain.RunCordonOrUncordon(helper, node.DeepCopy(), true); err != nil {
			return err
		}
	}
	for _, node := range nodes {
		if err := kubectldrain.RunNodeDrain(helper, node.Name); err != nil {
			return err
		}
	}
	return nil
}

// ours is the drain of the agent: all Nodes at once, with one limit over all.
func (b *bench) ours(ctx context.Context, nodes []*corev1.Node) error {
	rest := b.configOf(ours)
	rest.ContentType = runtime.ContentTypeProtobuf
	rest.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	plugin, faults := drain.Descriptor(client, clock.RealClock{}, drain.NewLimiter(config.DefaultEvictions)).Bind(nil)
	if len(faults) > 0 {
		return faults[0]
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, node := range nodes {
		group.Go(func() error {
			return plugin.Cleanup(ctx, cleanup.Target{
				Node: node, Attempt: 1, Began: time.Now(), IdempotencyKey: string(node.UID) + "/drain",
				Log: slog.New(slog.DiscardHandler), Progress: func(string) {},
			})
		})
	}
	return group.Wait()
}

// floor evicts with that many concurrent callers. Each retries a rejected eviction immediately,
// and waits by one watch for each Node until the Pods are deleted.
func (b *bench) floor(ctx context.Context, nodes []*corev1.Node, callers int) error {
	config := b.configOf(floorOf(callers))
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if err := kubectldrain.RunCordonOrUncordon(&kubectldrain.Helper{Ctx: ctx, Client: client}, node.DeepCopy(), true); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	evictions := make(chan corev1.Pod)
	group, ctx := errgroup.WithContext(ctx)
	listing, listed := errgroup.WithContext(ctx)
	for _, node := range nodes {
		listing.Go(func() error {
			pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(listed, metav1.ListOptions{FieldSelector: onNode(node.Name)})
			if err != nil {
				return err
			}
			group.Go(func() error { return awaitNoPods(ctx, client, node.Name, pods) })
			for _, pod := range pods.Items {
				select {
				case evictions <- pod:
				case <-listed.Done():
					return context.Cause(listed)
				}
			}
			return nil
		})
	}
	for range callers {
		group.Go(func() error {
			for pod := range evictions {
				if err := evict(ctx, client, &pod); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = listing.Wait()
	close(evictions)
	if err != nil {
		return err
	}
	return group.Wait()
}

func evict(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) error {
	for {
		err := client.CoreV1().RESTClient().Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").
			Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, DeleteOptions: metav1.NewPreconditionDeleteOptions(string(pod.UID))}).
			MaxRetries(0).Do(ctx).Error()
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		if !apierrors.IsTooManyRequests(err) && !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
			return err
		}
	}
}

// awaitNoPods returns when the Pods are not on the Node any more.
func awaitNoPods(ctx context.Context, client kubernetes.Interface, node string, pods *corev1.PodList) error {
	remaining := len(pods.Items)
	if remaining == 0 {
		return nil
	}
	watching, err := client.CoreV1().Pods(metav1.NamespaceAll).Watch(ctx, metav1.ListOptions{FieldSelector: onNode(node), ResourceVersion: pods.ResourceVersion})
	if err != nil {
		return err
	}
	defer watching.Stop()
	for event := range watching.ResultChan() {
		switch event.Type {
		case watch.Deleted:
			if remaining--; remaining == 0 {
				return nil
			}
		case watch.Error:
			return apierrors.FromObject(event.Object)
		}
	}
	return fmt.Errorf("the watch of the pods of node %s ended: %w", node, context.Cause(ctx))
}
