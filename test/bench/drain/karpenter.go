package main

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/karpenter/pkg/apis"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/controllers/node/termination/terminator"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/options"
)

// installKarpenter makes the CRDs that its terminator reads.
func (b *bench) installKarpenter(ctx context.Context) error {
	client, err := apiextensions.NewForConfig(b.cluster.RESTConfig())
	if err != nil {
		return err
	}
	for _, crd := range apis.CRDs {
		if _, err := client.ApiextensionsV1().CustomResourceDefinitions().Create(ctx, crd, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return until(ctx, "the CRDs are served", func(ctx context.Context) (bool, error) {
		list, err := client.ApiextensionsV1().CustomResourceDefinitions().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, crd := range list.Items {
			served := false
			for _, condition := range crd.Status.Conditions {
				served = served || condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue
			}
			if !served {
				return false, nil
			}
		}
		return true, nil
	})
}

// startKarpenter starts its eviction queue in a manager with the settings of its operator (pkg/operator/operator.go).
func (b *bench) startKarpenter(ctx context.Context) (func(context.Context, []*corev1.Node) error, func() error, error) {
	config := b.configOf(karpenter)
	config.QPS, config.Burst = 200, 300 // The defaults of --kube-client-qps and --kube-client-burst.
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Metrics: server.Options{BindAddress: "0"},
		// Each sample has a queue of the same name.
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		return nil, nil, err
	}
	for _, index := range []struct {
		object client.Object
		field  string
		value  func(client.Object) string
	}{
		{&corev1.Pod{}, "spec.nodeName", func(o client.Object) string { return o.(*corev1.Pod).Spec.NodeName }},
		{&v1.NodeClaim{}, "status.providerID", func(o client.Object) string { return o.(*v1.NodeClaim).Status.ProviderID }},
	} {
		if err := manager.GetFieldIndexer().IndexField(ctx, index.object, index.field, func(o client.Object) []string { return []string{index.value(o)} }); err != nil {
			return nil, nil, err
		}
	}
	recorder := events.NewRecorder(manager.GetEventRecorderFor(karpenter)) //nolint:staticcheck // As Karpenter does.
	queue := terminator.NewQueue(manager.GetClient(), recorder)
	running, cancel := context.WithCancel(options.ToContext(ctx, &options.Options{CPURequests: 1000}))
	if err := queue.Register(running, manager); err != nil {
		cancel()
		return nil, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(running) }()
	stop := func() error {
		cancel()
		return <-ended
	}
	if !manager.GetCache().WaitForCacheSync(running) {
		return nil, nil, errors.Join(errors.New("the manager has not started"), stop())
	}
	// The terminator reads these by informers, which begin with the first read.
	for _, list := range []client.ObjectList{&corev1.PodList{}, &corev1.NodeList{}, &v1.NodeClaimList{}} {
		if err := manager.GetClient().List(running, list); err != nil {
			return nil, nil, errors.Join(err, stop())
		}
	}
	t := terminator.NewTerminator(clock.RealClock{}, manager.GetClient(), queue, recorder)
	return func(ctx context.Context, nodes []*corev1.Node) error {
		group, ctx := errgroup.WithContext(ctx)
		for _, node := range nodes {
			group.Go(func() error { return terminate(ctx, t, node.DeepCopy(), manager.GetClient()) })
		}
		return group.Wait()
	}, stop, nil
}

// terminate drains the Node as Karpenter's node controller does
// (pkg/controllers/node/termination/controller.go), without its minimum wait of 5 s.
func terminate(ctx context.Context, t *terminator.Terminator, node *corev1.Node, reader client.Client) error {
	// The Node has changed since it was made.
	if err := reader.Get(ctx, client.ObjectKeyFromObject(node), node); err != nil {
		return err
	}
	if err := t.Taint(ctx, node, v1.DisruptedNoScheduleTaint); err != nil {
		return err
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		err := t.Drain(ctx, node, nil)
		if !terminator.IsNodeDrainError(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}
