package main

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// none is nothing installed.
const none install.Admission = "none"

var ways = []install.Admission{none, install.AdmissionPolicy, install.AdmissionWebhook}

// creations per round, one after the other.
const creations = 200

// measureCreation creates Nodes with nothing installed, with the policy, and with
// the webhook, in turns on one API server.
func measureCreation(ctx context.Context, rounds int) (err error) {
	c, err := cluster.New(ctx, cluster.Options{Name: "bench-admission", Output: os.Stderr})
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := c.Stop(context.WithoutCancel(ctx)); err == nil {
			err = stopErr
		}
	}()
	config := c.RESTConfig()
	config.QPS = -1
	client := kubernetes.NewForConfigOrDie(config)
	agent, err := startAgent(ctx, c)
	if err != nil {
		return err
	}
	defer agent.Stop(context.WithoutCancel(ctx))
	took := map[install.Admission][]time.Duration{}
	for round := range rounds {
		for _, way := range ways {
			if err := admitBy(ctx, c, client, agent, way); err != nil {
				return fmt.Errorf("installing admission %q: %w", way, err)
			}
			for i := range creations {
				node := cluster.MakeCloudNode(fmt.Sprintf("%s-%d-%d", way, round, i), images)
				began := time.Now()
				made, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
				if err != nil {
					return err
				}
				took[way] = append(took[way], time.Since(began))
				if api.HasFinalizer(made) != (way != none) {
					return fmt.Errorf("with admission %q a node has the finalizers %v", way, made.Finalizers)
				}
			}
		}
	}
	fmt.Printf("\ncreating a node of %d images, one after the other, %d each\n", images, rounds*creations)
	for _, way := range ways {
		fmt.Printf("  %-8s p50 %6s  p99 %6s  ratio %.2f\n", way, quantile(took[way], .5).Round(10*time.Microsecond), quantile(took[way], .99).Round(10*time.Microsecond),
			float64(quantile(took[way], .5))/float64(quantile(took[none], .5)))
	}
	return nil
}

// admitBy has Nodes protected in one way and waits until they are, or are not.
func admitBy(ctx context.Context, c *cluster.Cluster, client kubernetes.Interface, agent *process, way install.Admission) error {
	objects := dynamic.NewForConfigOrDie(c.RESTConfig())
	webhooks, policies := objects.Resource(webhookResource), objects.Resource(policyResource)
	options := install.Options{AgentURL: "https://" + agent.webhook, Admission: way}
	if way == none {
		options.Admission = install.AdmissionWebhook
	}
	if _, err := (install.Applier{Objects: objects}).Apply(ctx, options); err != nil {
		return err
	}
	if way != install.AdmissionWebhook {
		if err := deleteIfThere(ctx, webhooks); err != nil {
			return err
		}
	}
	if way != install.AdmissionPolicy {
		if err := deleteIfThere(ctx, policies); err != nil {
			return err
		}
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		probe := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}}
		made, err := client.CoreV1().Nodes().Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && api.HasFinalizer(made) == (way != none), err
	})
}
