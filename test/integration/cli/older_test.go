package cli_test

import (
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// Before Kubernetes 1.36 there are no policies that change objects.
func TestOnAnAPIServerWithoutMutatingPolicies(t *testing.T) {
	const group = "admissionregistration.k8s.io/v1/"
	older := cluster.Start(t, cluster.Options{
		Name: "older", WithControllerManager: true,
		APIServerFlags: []string{
			"--runtime-config=" + group + "mutatingadmissionpolicies=false," + group + "mutatingadmissionpolicybindings=false",
			"--disable-admission-plugins=MutatingAdmissionPolicy", // Which would wait for them.
		},
	})
	client, err := kubernetes.NewForConfig(older.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	makeNode(t, client, "worker", finalizers(api.Finalizer))
	want(t, exit.OK, run(t, older.Kubeconfig(), "install", "--agent-url", "https://127.0.0.1:1"))
	for _, command := range []string{"status", "check", "diagnose"} { // No agent runs, which they say.
		if result := run(t, older.Kubeconfig(), command); strings.Contains(result.out+result.errOut, "could not find the requested resource") {
			t.Errorf("%s does not do without them", command)
		}
	}
	want(t, exit.OK, run(t, older.Kubeconfig(), "uninstall", "--dry-run"))
	want(t, exit.OK, run(t, older.Kubeconfig(), "uninstall", "--yes"))
	wantNothingOfOurs(t, client, api.Namespace)
}
