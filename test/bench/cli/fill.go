package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	atOnce = 32
	// records of past cleanups: the number that a config keeps by default.
	records = 1000
	// terminating is the number of terminating nodes.
	terminating = 50
	// images of each node: with them it has the 14.7 KB of a real one.
	images = 50
)

// fill creates protected nodes of the size that real ones have.
func fill(ctx context.Context, config *rest.Config, number int) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range number {
		group.Go(func() error {
			node := cluster.MakeNode(fmt.Sprintf("node-%05d", i), nil)
			node.Finalizers = []string{api.Finalizer}
			for j := range images {
				digest := strings.Repeat(fmt.Sprintf("%02x", j), 32)
				node.Status.Images = append(node.Status.Images, corev1.ContainerImage{
					Names:     []string{fmt.Sprintf("registry.example.com/team-%d/some-service@sha256:%s", j, digest), fmt.Sprintf("registry.example.com/team-%d/some-service:v1.%d.0", j, i)},
					SizeBytes: int64(j) << 20,
				})
			}
			_, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
			return err
		})
	}
	return group.Wait()
}

// record installs with a stopped agent outside the cluster, and creates the run records of past
// cleanups, most of them of deleted nodes.
func record(ctx context.Context, config *rest.Config, nodes int) error {
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	if _, err := (install.Applier{Objects: objects}).Apply(ctx, install.Options{AgentURL: "https://127.0.0.1:1"}); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	began := metav1.NewTime(time.Now().Add(-time.Hour))
	parent := ctx
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range records {
		group.Go(func() error {
			run := &api.Run{Node: fmt.Sprintf("gone-%05d", i), NodeUID: types.UID(fmt.Sprintf("%08d", i)), State: api.Succeeded, StartedAt: began, FinishedAt: &began, PlanHash: "9f3c1a"}
			for _, name := range []string{"drain", "volumes", "deregister", "tell"} {
				run.Steps = append(run.Steps, api.StepRun{Name: name, Plugin: "http", State: api.StepSucceeded, Attempts: 1, StartedAt: &began, FinishedAt: &began})
			}
			configMap, err := api.EncodeRun(api.Namespace, run)
			if err != nil {
				return err
			}
			_, err = client.CoreV1().ConfigMaps(api.Namespace).Create(ctx, configMap, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	// The group's context ends with it.
	return deleteSome(parent, client, nodes)
}

// deleteSome deletes some nodes, so that the commands read the records of their cleanups.
func deleteSome(ctx context.Context, client kubernetes.Interface, nodes int) error {
	for i := range min(terminating, nodes) {
		if err := client.CoreV1().Nodes().Delete(ctx, fmt.Sprintf("node-%05d", i), metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return nil
}
