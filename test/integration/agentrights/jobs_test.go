package agentrights_test

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	// jobs is the namespace of the Jobs of a step.
	jobs = "node-jobs"
	// jobStep is a step that runs Jobs for the Nodes with label job.
	jobStep = `- name: run
  plugin: job
  nodeSelector: {matchLabels: {job: "true"}}
  options: {namespace: ` + jobs + `, templateFrom: {configMap: step}}
`
	allowJobs = "jobs: [{namespace: " + jobs + ", serviceAccounts: [default]}]\n"
)

// prepareJobs creates the namespace of the Jobs, with a Pod template.
func (s *scene) prepareJobs() {
	s.Helper()
	if _, err := s.client.CoreV1().Namespaces().Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: jobs}}, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	if _, err := s.client.CoreV1().ConfigMaps(jobs).Create(s.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "step"}, Data: map[string]string{"template.yaml": "spec: {containers: [{name: main, image: a}]}"},
	}, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.eventually("the namespace has a ServiceAccount", func(ctx context.Context) (bool, error) {
		_, err := s.client.CoreV1().ServiceAccounts(jobs).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
}

// runJobs has a Job fail, its successor succeed, and a third one be withdrawn.
func (s *scene) runJobs() {
	s.Helper()
	ctx := s.Context()
	labels := own()
	maps.Copy(labels, map[string]string{"job": "true"})
	nodes := s.client.CoreV1().Nodes()
	for _, name := range []string{"jobbed", "kept"} {
		if _, err := nodes.Create(ctx, cluster.MakeNode(name, labels), metav1.CreateOptions{}); err != nil {
			s.Fatal(err)
		}
		s.eventually("node "+name+" is protected", func(ctx context.Context) (bool, error) {
			node, err := nodes.Get(ctx, name, metav1.GetOptions{})
			return err == nil && api.HasFinalizer(node), err
		})
	}
	manager := s.server.Component(cluster.ControllerManager)
	if err := manager.Pause(); err != nil {
		s.Fatal(err)
	}
	s.delete("jobbed")
	s.eventually("the step says that the Job has no Pod", func(ctx context.Context) (bool, error) {
		node, err := nodes.Get(ctx, "jobbed", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		cleanup := api.CleanupConditionOf(node)
		return cleanup != nil && strings.Contains(cleanup.Message, "has no Pod yet"), nil
	})
	if err := manager.Resume(); err != nil {
		s.Fatal(err)
	}
	s.endPod(1)
	s.endPod(0)
	s.isDeleted("jobbed")

	request := func(at string) {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{api.AnnotationCleanupRequestedAt: emptyIsNull(at)}}})
		if err != nil {
			s.Fatal(err)
		}
		if _, err := nodes.Patch(ctx, "kept", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			s.Fatal(err)
		}
	}
	unfinished := func(ctx context.Context) (int, error) {
		list, err := s.client.BatchV1().Jobs(jobs).List(ctx, metav1.ListOptions{})
		count := 0
		for i := range list.Items {
			if len(list.Items[i].Status.Conditions) == 0 && list.Items[i].DeletionTimestamp == nil {
				count++
			}
		}
		return count, err
	}
	request("2026-01-31T04:00:00Z")
	s.eventually("a Job runs for node kept", func(ctx context.Context) (bool, error) {
		count, err := unfinished(ctx)
		return count == 1, err
	})
	request("")
	s.eventually("the Job is deleted", func(ctx context.Context) (bool, error) {
		count, err := unfinished(ctx)
		return count == 0, err
	})
}

func emptyIsNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// endPod reports that the container of a Pod has exited, as a kubelet does.
func (s *scene) endPod(code int32) {
	s.Helper()
	phase := corev1.PodSucceeded
	if code != 0 {
		phase = corev1.PodFailed
	}
	state := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"phase": phase, "containerStatuses": []corev1.ContainerStatus{{Name: "main", State: state}}}})
	if err != nil {
		s.Fatal(err)
	}
	s.eventually("a Pod ends", func(ctx context.Context) (bool, error) {
		pods, err := s.client.CoreV1().Pods(jobs).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Pending"})
		if err != nil || len(pods.Items) == 0 {
			return false, err
		}
		_, err = s.client.CoreV1().Pods(jobs).Patch(ctx, pods.Items[0].Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		return err == nil, err
	})
}

// The agent may create Jobs where its steps do, and nowhere else.
func TestAgentRunsJobsInOneNamespace(t *testing.T) {
	s := start(t, cluster.Start(t, cluster.Options{Name: "agentrights-jobs", WithControllerManager: true}))
	s.config = allowJobs + "steps:\n" + jobStep
	s.prepareJobs()
	s.install()
	client := kubernetes.NewForConfigOrDie(s.server.RESTConfigFor(user, "system:serviceaccounts", "system:authenticated"))
	create := func(ctx context.Context, namespace string) error {
		_, err := client.BatchV1().Jobs(namespace).Create(ctx, &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"},
			Spec: batchv1.JobSpec{Suspend: new(true), Template: corev1.PodTemplateSpec{
				Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "a"}}},
			}},
		}, metav1.CreateOptions{})
		return err
	}
	s.eventually("the agent creates a Job", func(ctx context.Context) (bool, error) { return create(ctx, jobs) == nil, nil })
	for _, namespace := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, api.Namespace} {
		if err := create(t.Context(), namespace); !apierrors.IsForbidden(err) {
			t.Errorf("a Job in namespace %s: the answer is %v", namespace, err)
		}
	}
	for _, right := range []access.Right{
		{Verb: "create", Resource: "pods", Namespace: jobs}, {Verb: "get", Resource: "secrets", Namespace: jobs}, {Verb: "create", Resource: "serviceaccounts", Subresource: "token", Namespace: jobs},
		{Verb: "update", Resource: "jobs", Group: "batch", Namespace: jobs}, {Verb: "get", Resource: "configmaps", Name: "other", Namespace: jobs},
	} {
		if allowed, err := access.Self(client)(t.Context(), right); err != nil || allowed {
			t.Errorf("the agent may %s: %t, %v", access.Describe(right), allowed, err)
		}
	}

	// The next config needs no Job, and so no right to create one.
	s.config = "steps: [{name: log, plugin: logger}]\n"
	s.install()
	s.eventually("the agent creates no Job", func(ctx context.Context) (bool, error) { return apierrors.IsForbidden(create(ctx, jobs)), nil })
}
