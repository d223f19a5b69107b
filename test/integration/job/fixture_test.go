package job_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/job"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	testTimeout = time.Minute
	pollPeriod  = 50 * time.Millisecond
)

// fixture is a namespace for Jobs, a Node to clean up and another Node, for one test.
type fixture struct {
	*testing.T
	client    kubernetes.Interface
	namespace string
	// own and other are the Nodes; only Pods of this fixture run there.
	own, other *corev1.Node

	mutex sync.Mutex
	// said are the texts of the progress.
	said    []string
	outputs map[string]string
}

func setUp(t *testing.T) *fixture {
	f := &fixture{T: t, client: kubernetes.NewForConfigOrDie(shared.RESTConfig()), namespace: "jobs-" + rand.String(5), outputs: map[string]string{}}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}}
	if _, err := f.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.own, f.other = f.node("own"), f.node("other")
	f.eventually("the namespace has a ServiceAccount", func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().ServiceAccounts(f.namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
	return f
}

// node creates a Node that is Ready. No kubelet renews that, but the scheduler uses it for 40 seconds.
func (f *fixture) node(name string) *corev1.Node {
	f.Helper()
	nodes := f.client.CoreV1().Nodes()
	made := cluster.MakeNode(f.namespace+"-"+name, map[string]string{"jobs": f.namespace})
	made.Annotations = nil
	node, err := nodes.Create(f.Context(), made, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := nodes.Delete(context.WithoutCancel(f.Context()), node.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			f.Error(err)
		}
	})
	patch, err := json.Marshal(map[string]any{"status": corev1.NodeStatus{
		Capacity: made.Status.Capacity, Allocatable: made.Status.Allocatable,
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	if node, err = nodes.Patch(f.Context(), node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		f.Fatal(err)
	}
	f.eventually("node "+name+" has no taint", func(ctx context.Context) (bool, error) {
		current, err := nodes.Get(ctx, node.Name, metav1.GetOptions{})
		return err == nil && len(current.Spec.Taints) == 0, err
	})
	return node
}

// options are those of a step whose Pod runs only on the Nodes of the fixture.
func (f *fixture) options(more string) string {
	return fmt.Sprintf(`{"namespace": %q, "outputs": ["number"], "template": {"spec": {
		"nodeSelector": {"jobs": %[1]q}, "terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "localhost/step:1"}]}}%s}`, f.namespace, more)
}

// descriptor returns the plugin with the rights that these options need, and no others.
func (f *fixture) descriptor(options string) cleanup.Descriptor {
	f.Helper()
	bound, faults := job.Descriptor(nil, nil, "").Bind([]byte(options))
	if len(faults) > 0 {
		f.Fatal(faults)
	}
	config, err := shared.RESTConfigWith(f.Context(), "agent-"+rand.String(8), bound.(cleanup.NamespaceRuleRequirer).NamespaceRules())
	if err != nil {
		f.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	f.eventually("the user has its rights", func(ctx context.Context) (bool, error) {
		_, err := client.BatchV1().Jobs(f.namespace).List(ctx, metav1.ListOptions{})
		return err == nil, nil // The authorizer follows the roles with a delay.
	})
	return job.Descriptor(client, clock.RealClock{}, "")
}

func (f *fixture) plugin(options string) cleanup.Plugin {
	f.Helper()
	plugin, faults := f.descriptor(options).Bind([]byte(options))
	if len(faults) > 0 {
		f.Fatal(faults)
	}
	return plugin
}

var began = time.Now().Truncate(time.Second)

func (f *fixture) target() cleanup.Target {
	return cleanup.Target{
		Node: f.own, Step: "archive", Attempt: 1, Began: began, IdempotencyKey: string(f.own.UID) + "/archive",
		Log: slog.New(slog.NewTextHandler(f.Output(), nil)),
		Progress: func(text string) {
			f.mutex.Lock()
			defer f.mutex.Unlock()
			f.said = append(f.said, text)
		},
		Recorded: func(name, value string) error {
			f.mutex.Lock()
			defer f.mutex.Unlock()
			f.outputs[name] = value
			return nil
		},
	}
}

// cleanUp runs an attempt, and returns a channel for its error.
func (f *fixture) cleanUp(ctx context.Context, plugin cleanup.Plugin) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- plugin.Cleanup(ctx, f.target()) }()
	return ended
}

// result returns the error of an attempt.
func (f *fixture) result(ended <-chan error) error {
	f.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(testTimeout):
		f.Fatal("the attempt did not end")
		return nil
	}
}

func (f *fixture) awaitProgress(part string) {
	f.Helper()
	f.eventually("the progress has "+part, func(context.Context) (bool, error) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		for _, text := range f.said {
			if strings.Contains(text, part) {
				return true, nil
			}
		}
		return false, nil
	})
}

func (f *fixture) jobs() []batchv1.Job {
	f.Helper()
	list, err := f.client.BatchV1().Jobs(f.namespace).List(f.Context(), metav1.ListOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return list.Items
}

// scheduled returns a Pod of the namespace that has a Node and has not ended, once there is one.
func (f *fixture) scheduled() *corev1.Pod {
	f.Helper()
	var found *corev1.Pod
	f.eventually("a Pod is scheduled", func(ctx context.Context) (bool, error) {
		pods, err := f.client.CoreV1().Pods(f.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if pod.Spec.NodeName != "" && pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp == nil {
				found = pod
			}
		}
		return found != nil, nil
	})
	return found
}

// runs reports that the container of a Pod runs, as the kubelet does.
func (f *fixture) runs(pod *corev1.Pod) {
	f.report(pod, corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}})
}

// ends reports that the container of a Pod has exited.
func (f *fixture) ends(pod *corev1.Pod, code int32, message string, conditions ...corev1.PodCondition) {
	phase, reason := corev1.PodSucceeded, "Completed"
	if code != 0 {
		phase, reason = corev1.PodFailed, "Error"
	}
	f.report(pod, phase, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message, FinishedAt: metav1.Now()}}, conditions...)
}

func (f *fixture) report(pod *corev1.Pod, phase corev1.PodPhase, state corev1.ContainerState, conditions ...corev1.PodCondition) {
	f.Helper()
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"phase": phase, "conditions": conditions, "startTime": metav1.Now(), "containerStatuses": []corev1.ContainerStatus{{Name: "main", State: state}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := f.client.CoreV1().Pods(pod.Namespace).Patch(f.Context(), pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		f.Fatal(err)
	}
}

// removes deletes a terminating Pod at once, as the kubelet does when its containers have ended.
func (f *fixture) removes(pod *corev1.Pod) {
	f.Helper()
	if err := f.client.CoreV1().Pods(pod.Namespace).Delete(f.Context(), pod.Name, *metav1.NewDeleteOptions(0)); err != nil && !apierrors.IsNotFound(err) {
		f.Fatal(err)
	}
}

func (f *fixture) eventually(what string, holds func(context.Context) (bool, error)) {
	f.Helper()
	if err := wait.PollUntilContextTimeout(f.Context(), pollPeriod, testTimeout, true, holds); err != nil {
		f.Fatalf("waiting until %s: %v", what, err)
	}
}
