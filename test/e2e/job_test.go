//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/node"
)

const (
	jobs           = "node-jobs"
	stepRepository = "localhost/step"
)

// jobSettings is the config, with the address of the gates.
const jobSettings = `apiVersion: nodecleanup.io/v1alpha1
kind: Config
retry: {maxRetries: 1, initialDelay: 1s}
jobs: [{namespace: node-jobs, serviceAccounts: [default]}]
steps:
- name: host
  plugin: job
  nodeSelector: {matchLabels: {kubernetes.io/hostname: real}}
  options:
    namespace: node-jobs
    onNode: true
    template: {spec: {containers: [{name: main, image: "localhost/step:v0.0.2-e2e", args: [-wait, "http://%[1]s/$(NODE_NAME)"]}]}}
- {name: drain, plugin: drain, dependsOn: [host]}
- name: archive
  plugin: job
  dependsOn: [drain]
  options:
    namespace: node-jobs
    outputs: [location]
    template: {spec: {containers: [{name: main, image: "localhost/step:v0.0.2-e2e", args: [-wait, "http://%[1]s/$(NODE_NAME)", "location=s3://logs/$(NODE_NAME)"]}]}}
- name: tell
  plugin: job
  dependsOn: [archive]
  options:
    namespace: node-jobs
    outputs: [report]
    template:
      spec:
        containers:
        - name: main
          image: localhost/step:v0.0.2-e2e
          args: ["report=$(LOCATION) of $(NODE_UID)"]
          env: [{name: LOCATION, value: "${steps.archive.outputs.location}"}]
- name: broken
  plugin: job
  dependsOn: [drain]
  nodeSelector: {matchLabels: {broken: "true"}}
  options:
    namespace: node-jobs
    template: {spec: {containers: [{name: main, image: "localhost/step:v0.0.2-e2e", args: [-exit, "3", "cannot reach the archive", "the bucket is full"]}]}}
`

// gates answers 200 to the containers of the Nodes that were let through.
type gates struct {
	mutex sync.Mutex
	open  map[string]bool
}

func (g *gates) letThrough(name string) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.open["/"+name] = true
}

// ServeHTTP implements http.Handler.
func (g *gates) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if !g.open[request.URL.Path] {
		writer.WriteHeader(http.StatusServiceUnavailable)
	}
}

// TestStepsInContainers runs steps as Jobs on a real kubelet.
func TestStepsInContainers(t *testing.T) {
	address, err := node.Address()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	gates := &gates{open: map[string]bool{}}
	server := &http.Server{Handler: gates}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	if err := real.Load(t.Context(), root, node.Image{Module: root, Package: "./test/e2e/step", Repository: stepRepository, Version: newVersion}); err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: jobs}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var first *corev1.Node
	config := write(t, "config.yaml", fmt.Sprintf(jobSettings, listener.Addr()))
	prove(t, "job",
		part{"an agent is installed with the rights of its steps, which are healthy", func(t *testing.T) {
			run(t, exit.OK, "install", "--wait", "--image", repository+":"+newVersion, "--config", config)
			run(t, exit.OK, "preflight")
			run(t, exit.OK, "check")
		}},
		part{"status -w shows what the container of a step does", func(t *testing.T) {
			if first, err = makeNode(t.Context(), "job-1", metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if said := run(t, exit.OK, "plan", "job-1"); !strings.Contains(said, jobs+"/archive-") {
				t.Errorf("plan: %s", said)
			}
			watched := follow(t, "status", "-w")
			deleteNode(t, "job-1")
			watched.says("runs on node " + node.Name)
		}},
		part{"the container outlives the agents, and the next leader waits for it", func(t *testing.T) {
			restartAgents(t)
			before := jobsOf(t, "archive")
			gates.letThrough("job-1")
			eventually(t, "node job-1 is deleted", isDeleted("job-1"))
			if after := jobsOf(t, "archive"); len(before) != 1 || len(after) != 1 || before[0].UID != after[0].UID {
				t.Errorf("%d jobs before the restart, %d after", len(before), len(after))
			}
		}},
		part{"a later step gets the output of the container", func(t *testing.T) {
			record, err := cluster.RunOf(t.Context(), client, api.Namespace, first)
			if err != nil || record == nil {
				t.Fatalf("the run record: %v, %v", record, err)
			}
			report := fmt.Sprintf("s3://logs/job-1 of %s", record.NodeUID)
			if record.State != api.Succeeded || record.Step("archive").Outputs["location"] != "s3://logs/job-1" || record.Step("tell").Outputs["report"] != report {
				t.Errorf("the record is %+v", record)
			}
		}},
		part{"a container that fails says why", func(t *testing.T) {
			if _, err := makeNode(t.Context(), "job-2", metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			kubectl(t, "label", "node", "job-2", "broken=true")
			gates.letThrough("job-2")
			deleteNode(t, "job-2")
			const want = "exited with code 3; its log ends with: cannot reach the archive | the bucket is full"
			eventually(t, "the cleanup of job-2 has failed with the log of its container", func(ctx context.Context) (bool, error) {
				current, err := client.CoreV1().Nodes().Get(ctx, "job-2", metav1.GetOptions{})
				if err != nil {
					return false, err
				}
				condition := api.CleanupConditionOf(current)
				return condition != nil && condition.Reason == string(api.Failed) && strings.Contains(condition.Message, want), nil
			})
			if said := run(t, exit.Unhealthy, "diagnose", "job-2"); !strings.Contains(said, "the bucket is full") {
				t.Errorf("diagnose: %s", said)
			}
			if failed := jobsOf(t, "broken"); len(failed) != 2 {
				t.Errorf("%d jobs for two attempts", len(failed))
			}
			run(t, exit.OK, "bypass", "job-2", "--reason", "the bucket stays full", "--yes")
			eventually(t, "node job-2 is deleted", isDeleted("job-2"))
		}},
		part{"a container runs on the node that is cleaned up, and ends when that is canceled", hostCommand},
		part{"uninstall takes the rights in the namespace of the steps", func(t *testing.T) {
			if _, err := client.RbacV1().Roles(jobs).Get(t.Context(), api.AgentSteps, metav1.GetOptions{}); err != nil {
				t.Fatal(err)
			}
			run(t, exit.OK, "uninstall", "--yes")
			wantNothingLeft(t)
			if _, err := client.RbacV1().Roles(jobs).Get(t.Context(), api.AgentSteps, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("the role of the steps: %v", err)
			}
			if _, err := client.RbacV1().RoleBindings(jobs).Get(t.Context(), api.AgentSteps, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("the binding of the steps: %v", err)
			}
			awaitNoNamespace(t)
		}},
	)
}

// hostCommand requests the cleanup of the node on which the agents run, and cancels it before the drain.
func hostCommand(t *testing.T) {
	run(t, exit.OK, "cleanup", node.Name, "--yes", "--even-if-blocked")
	eventually(t, "the container runs on node "+node.Name, func(ctx context.Context) (bool, error) {
		pods, err := client.CoreV1().Pods(jobs).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err != nil || len(pods.Items) != 1 {
			return false, err
		}
		return pods.Items[0].Spec.NodeName == node.Name && strings.HasPrefix(pods.Items[0].Name, "host-"), nil
	})
	current, err := client.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("unschedulable: %t", current.Spec.Unschedulable)
	kubectl(t, "annotate", "node", node.Name, api.AnnotationCleanupRequestedAt+"-")
	eventually(t, "the container has ended", func(ctx context.Context) (bool, error) {
		pods, err := client.CoreV1().Pods(jobs).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
		return err == nil && len(pods.Items) == 0 && len(jobsOf(t, "host")) == 0, err
	})
	eventually(t, "node "+node.Name+" is schedulable", func(ctx context.Context) (bool, error) {
		current, err := client.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
		return err == nil && !current.Spec.Unschedulable, err
	})
}

// restartAgents kills every agent, and returns when new ones are ready.
func restartAgents(t *testing.T) {
	t.Helper()
	killed := map[string]bool{}
	for _, pod := range agents(t) {
		killed[pod.Name] = true
		if err := client.CoreV1().Pods(api.Namespace).Delete(t.Context(), pod.Name, *metav1.NewDeleteOptions(0)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "two new agents are ready, and one of them leads", func(context.Context) (bool, error) {
		ready := 0
		for _, pod := range agents(t) {
			if !killed[pod.Name] && isReady(&pod) {
				ready++
			}
		}
		return ready == 2 && !killed[leader(t)], nil
	})
}

// jobsOf returns the Jobs of a step.
func jobsOf(t *testing.T, step string) []batchv1.Job {
	t.Helper()
	list, err := client.BatchV1().Jobs(jobs).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var found []batchv1.Job
	for _, one := range list.Items {
		if one.Annotations["nodecleanup.io/step"] == step {
			found = append(found, one)
		}
	}
	return found
}

// following is a command that runs until the end of the test.
type following struct {
	*testing.T
	mutex sync.Mutex
	out   bytes.Buffer
}

// follow starts a command that ends with the test.
func follow(t *testing.T, arguments ...string) *following {
	t.Helper()
	f := &following{T: t}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: f, ErrOut: f}
	go func() { ended <- cli.Execute(ctx, streams, append(arguments, "--kubeconfig", shared.Kubeconfig())) }()
	t.Cleanup(func() {
		stop()
		err := <-ended
		t.Logf("kubectl nodecleanup %s [%v]\n%s", strings.Join(arguments, " "), err, f.text())
	})
	return f
}

// Write implements io.Writer.
func (f *following) Write(text []byte) (int, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.out.Write(text)
}

func (f *following) text() string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.out.String()
}

// says waits until the command has written a text.
func (f *following) says(text string) {
	f.Helper()
	eventually(f.T, "the command writes "+text, func(context.Context) (bool, error) { return strings.Contains(f.text(), text), nil })
}
