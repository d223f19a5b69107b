// Package helm_test runs the real Helm and the chart's hooks. It stands for the Job controller and
// the kubelet: it runs the command of the hook's Job, with the rights of the Job's service account.
package helm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const chart = "../../../manifests/chart"

var (
	shared  *cluster.Cluster
	client  kubernetes.Interface
	program string
)

func TestMain(m *testing.M) {
	var err error
	if program, err = cluster.Helm(context.Background(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(cluster.Main(m, cluster.Options{Name: "helm"}, func(c *cluster.Cluster) {
		shared, client = c, kubernetes.NewForConfigOrDie(c.RESTConfig())
	}))
}

// helm runs Helm in a namespace and returns its output.
func helm(t *testing.T, namespace string, arguments ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, append(arguments, "--namespace", namespace)...)
	home := t.TempDir()
	command.Env = append(os.Environ(), "KUBECONFIG="+shared.Kubeconfig(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	said, err := command.CombinedOutput()
	t.Logf("helm %s [%v]\n%s", strings.Join(arguments, " "), err, said)
	return string(said), err
}

func succeeds(t *testing.T, namespace string, arguments ...string) string {
	t.Helper()
	said, err := helm(t, namespace, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return said
}

func fails(t *testing.T, says, namespace string, arguments ...string) {
	t.Helper()
	if said, err := helm(t, namespace, arguments...); err == nil || !strings.Contains(said, says) {
		t.Fatalf("helm %s: %v, want a failure that says %q", arguments[0], err, says)
	}
}

// wantRelease wants the newest revision of the release to have a number and a status.
func wantRelease(t *testing.T, namespace string, revision int, status string) {
	t.Helper()
	var history []struct {
		Revision int
		Status   string
	}
	if err := json.Unmarshal([]byte(succeeds(t, namespace, "history", "nodecleanup", "--max", "1", "-o", "json")), &history); err != nil || len(history) != 1 {
		t.Fatalf("reading the history: %v, %v", history, err)
	}
	if release := history[0]; release.Revision != revision || release.Status != status {
		t.Fatalf("the release is revision %d, %s; want %d, %s", release.Revision, release.Status, revision, status)
	}
}
