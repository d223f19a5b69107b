package main

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	atOnce = 32
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
