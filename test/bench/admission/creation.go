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

const (
	// creations per round, one after the other.
	creations = 200
	// maxRatio is how much longer than with the baseline the creation of a Node may take.
	maxRatio = 1.10
)

// subject is one way to create Nodes.
type subject struct {
	name      string
	admission install.Admission
	// agent is the binary that runs during it.
	agent string
	took  []time.Duration
}

func (s *subject) median() time.Duration { return quantile(s.took, .5) }

// measureCreation creates Nodes with nothing installed, with the policy, with the webhook, and
// with the webhook of the baseline if there is one, in turns on one API server. It returns an
// error if the webhook takes more than maxRatio of the baseline's time.
func measureCreation(ctx context.Context, o options) (err error) {
	c, err := cluster.New(ctx, cluster.Options{Name: "bench-admission", Output: os.Stderr})
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := c.Stop(context.WithoutCancel(ctx)); err == nil {
			err = stopErr
		}
	}()
	current, remove, err := buildAgent(ctx)
	if err != nil {
		return err
	}
	defer remove()
	without := &subject{name: "none", admission: none, agent: current}
	webhook := &subject{name: "webhook", admission: install.AdmissionWebhook, agent: current}
	subjects := []*subject{without, {name: "policy", admission: install.AdmissionPolicy, agent: current}, webhook}
	var baseline *subject
	if o.baseline != "" {
		baseline = &subject{name: "webhook of the baseline", admission: install.AdmissionWebhook, agent: o.baseline}
		subjects = append(subjects, baseline)
	}
	for round := range o.rounds {
		for i := range subjects {
			// Each has its turn at each place: the number of Nodes only grows.
			s := subjects[(i+round)%len(subjects)]
			if err := s.measure(ctx, c, fmt.Sprintf("node-%d-%d", round, i)); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	fmt.Printf("\ncreating a node of %d images, one after the other, %d each\n", images, o.rounds*creations)
	for _, s := range subjects {
		fmt.Printf("  %-23s  p50 %6s  p99 %7s  ratio to none %.2f\n", s.name, s.median().Round(10*time.Microsecond),
			quantile(s.took, .99).Round(10*time.Microsecond), float64(s.median())/float64(without.median()))
	}
	if baseline == nil {
		return nil
	}
	ratio := float64(webhook.median()) / float64(baseline.median())
	fmt.Printf("  the webhook takes %.3f of the baseline's time (p50), at most %.2f\n", ratio, maxRatio)
	if ratio > maxRatio {
		return fmt.Errorf("creating a node with the webhook takes %.3f of the baseline's time, at most %.2f is allowed", ratio, maxRatio)
	}
	return nil
}

// measure creates Nodes while the subject's agent runs.
func (s *subject) measure(ctx context.Context, c *cluster.Cluster, prefix string) error {
	config := c.RESTConfig()
	config.QPS = -1
	client := kubernetes.NewForConfigOrDie(config)
	// The fields that the agent of an earlier turn wrote are removed together with these objects.
	objects := dynamic.NewForConfigOrDie(c.RESTConfig())
	for _, admission := range []dynamic.ResourceInterface{objects.Resource(webhookResource), objects.Resource(policyResource)} {
		if err := deleteIfThere(ctx, admission); err != nil {
			return err
		}
	}
	agent, err := startAgent(ctx, c, s.agent)
	if err != nil {
		return err
	}
	defer agent.Stop(context.WithoutCancel(ctx))
	if err := s.admit(ctx, objects, client, agent); err != nil {
		return fmt.Errorf("installing: %w", err)
	}
	for i := range creations {
		node := cluster.MakeCloudNode(fmt.Sprintf("%s-%d", prefix, i), images)
		began := time.Now()
		created, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		s.took = append(s.took, time.Since(began))
		if api.HasFinalizer(created) != (s.admission != none) {
			return fmt.Errorf("node %s has the finalizers %v", created.Name, created.Finalizers)
		}
	}
	return nil
}

// admit installs the subject's admission, and waits until new Nodes get the finalizer, or
// get none.
func (s *subject) admit(ctx context.Context, objects dynamic.Interface, client kubernetes.Interface, agent *process) error {
	options := install.Options{AgentURL: "https://" + agent.webhook, Admission: s.admission}
	if s.admission == none {
		options.Admission = install.AdmissionWebhook
	}
	if _, err := (install.Applier{Objects: objects}).Apply(ctx, options); err != nil {
		return err
	}
	if s.admission != install.AdmissionWebhook {
		if err := deleteIfThere(ctx, objects.Resource(webhookResource)); err != nil {
			return err
		}
	}
	if s.admission != install.AdmissionPolicy {
		if err := deleteIfThere(ctx, objects.Resource(policyResource)); err != nil {
			return err
		}
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		probe := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}}
		created, err := client.CoreV1().Nodes().Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && api.HasFinalizer(created) == (s.admission != none), err
	})
}
