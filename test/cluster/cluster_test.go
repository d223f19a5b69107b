package cluster

import (
	"context"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// TestCluster shares one cluster among its subtests. A subtest that stops a component restarts it.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Name: "shared", WithKwok: true})
	t.Run("a user has the rights that RBAC gives", func(t *testing.T) { testUser(t, c) })
	t.Run("a kubeconfig is for its user", func(t *testing.T) { testKubeconfig(t, c) })
	t.Run("the audit log has a request when its response has arrived", func(t *testing.T) { testAudit(t, c) })
	t.Run("kwok plays a node, and a pod can be evicted from it", func(t *testing.T) { testKwok(t, c) })
	t.Run("a killed API server comes back with its address and its data", func(t *testing.T) { testKill(t, c) })
	t.Run("a paused API server answers nothing until it is resumed", func(t *testing.T) { testPause(t, c) })
}

func testUser(t *testing.T, c *Cluster) {
	_, err := clientFor(t, c, "jane", "developers").CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("listing nodes as a user without rights: got %v, want forbidden", err)
	}
	if _, err := clientFor(t, c, "jane", "system:masters").CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("listing nodes as an administrator: %v", err)
	}
}

func testKubeconfig(t *testing.T, c *Cluster) {
	path, err := c.KubeconfigFor("system:serviceaccount:default:robot", "system:serviceaccounts")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	mark := auditMark(t, c)
	if _, err := kubernetes.NewForConfigOrDie(config).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing pods: got %v, want forbidden", err)
	}
	events := auditSince(t, c, mark, "system:serviceaccount:default:robot")
	if len(events) != 1 || events[0].Code != 403 {
		t.Errorf("got events %+v, want one with code 403", events)
	}
}

func testAudit(t *testing.T, c *Cluster) {
	client := clientFor(t, c, "auditor", "system:masters")
	mark := auditMark(t, c)
	began := time.Now()
	if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("getting a ConfigMap that is not there: %v", err)
	}
	events := auditSince(t, c, mark, "auditor")
	if len(events) != 1 {
		t.Fatalf("got events %+v, want one", events)
	}
	got := events[0]
	if got.Stage != "ResponseComplete" || got.Verb != "get" || got.Resource != "configmaps" || got.Namespace != "default" ||
		got.Name != "none" || got.Code != 404 || got.URI != "/api/v1/namespaces/default/configmaps/none" {
		t.Errorf("got event %+v", got)
	}
	if got.At.Before(began.Truncate(time.Microsecond)) || got.UserAgent == "" || got.Annotations["authorization.k8s.io/decision"] != "allow" {
		t.Errorf("got event %+v", got)
	}
	if events := auditSince(t, c, auditMark(t, c), "auditor"); len(events) != 0 {
		t.Errorf("got events %+v after the last one", events)
	}
}

func testKwok(t *testing.T, c *Cluster) {
	client := admin(t, c)
	if _, err := client.CoreV1().Nodes().Create(t.Context(), MakeNode("fake-1", map[string]string{"zone": "a"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is Ready", func(ctx context.Context) (bool, error) {
		node, err := client.CoreV1().Nodes().Get(ctx, "fake-1", metav1.GetOptions{})
		return err == nil && isReady(node), err
	})
	pod, err := client.CoreV1().Pods("default").Create(t.Context(), MakePod("default", "web", "fake-1"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is Running", func(ctx context.Context) (bool, error) {
		pod, err := client.CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning, err
	})
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: "default", Name: "web"},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}},
	}
	if err := client.PolicyV1().Evictions("default").Evict(t.Context(), eviction); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is deleted", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{})
		return apierrors.IsNotFound(err), ignoreNotFound(err)
	})
}

func testKill(t *testing.T, c *Cluster) {
	client := admin(t, c)
	made, err := client.CoreV1().ConfigMaps("default").Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server := c.Component(APIServer)
	pid, url := server.PID(), c.URL()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if server.Running() || server.PID() != 0 {
		t.Errorf("the killed API server runs, as process %d", server.PID())
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if server.PID() == pid || c.URL() != url {
		t.Errorf("got process %d at %s, want another than %d at %s", server.PID(), c.URL(), pid, url)
	}
	found, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil || found.UID != made.UID {
		t.Errorf("got %v, %v from the restarted API server, want UID %s", found, err, made.UID)
	}
}

func testPause(t *testing.T, c *Cluster) {
	server := c.Component(APIServer)
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := admin(t, c).CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err == nil || ctx.Err() == nil {
		t.Errorf("listing nodes from a paused API server: got %v, want a timeout", err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := admin(t, c).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("listing nodes from a resumed API server: %v", err)
	}
}

func TestStartAndStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := New(t.Context(), Options{Name: "full", Dir: dir, WithControllerManager: true, WithScheduler: true, WithKwok: true,
		APIServerFlags: []string{"--runtime-config=batch/v1=false"}, Output: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop(context.WithoutCancel(t.Context())) })
	t.Run("the scheduler and the controller manager work", func(t *testing.T) { testControllers(t, c) })
	t.Run("flags reach the API server", func(t *testing.T) {
		if _, err := admin(t, c).Discovery().ServerResourcesForGroupVersion("batch/v1"); !apierrors.IsNotFound(err) {
			t.Errorf("asking for batch/v1, which is off: got %v, want not found", err)
		}
	})
	processes := c.Processes()
	births := map[int]string{}
	for _, p := range processes {
		births[p.PID()], _ = processBirth(p.PID())
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for pid, born := range births {
		if now, ok := processBirth(pid); ok && now == born {
			t.Errorf("process %d survived Stop", pid)
		}
	}
	if len(births) != len(componentNames()) {
		t.Errorf("got %d processes, want one for each of %q", len(births), componentNames())
	}
	if _, err := os.Stat(c.Component(APIServer).Log()); err != nil {
		t.Errorf("Stop removed a directory that the caller named: %v", err)
	}
}

// testControllers needs the service account of a pod, its binding to a node, and the status of a budget.
func testControllers(t *testing.T, c *Cluster) {
	client := admin(t, c)
	if _, err := client.CoreV1().Nodes().Create(t.Context(), MakeNode("fake-1", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: metav1.SetAsLabelSelector(map[string]string{"app": "web"})},
	}
	if _, err := client.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), MakePod("default", "web", ""), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod runs and the budget counts it", func(ctx context.Context) (bool, error) {
		pod, err := client.CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		budget, err := client.PolicyV1().PodDisruptionBudgets("default").Get(ctx, "web", metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning && pod.Spec.NodeName == "fake-1" && budget.Status.CurrentHealthy == 1, err
	})
}
