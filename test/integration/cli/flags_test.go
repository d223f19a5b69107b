package cli_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestKubectlConnectionFlags(t *testing.T) {
	client := admin(t)
	want(t, exit.OK, run(t, shared.Kubeconfig(), "nodes", "list"))

	as := want(t, exit.Failure, run(t, shared.Kubeconfig(), "nodes", "list", "--as", "jane", "--as-group", "visitors"))
	wantText(t, as.errOut, `User "jane" cannot list resource "nodes"`)

	config, err := clientcmd.LoadFromFile(shared.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.Clusters["closed"] = &clientcmdapi.Cluster{Server: "https://127.0.0.1:1"}
	config.Contexts["elsewhere"] = &clientcmdapi.Context{Cluster: "closed", AuthInfo: config.Contexts[config.CurrentContext].AuthInfo}
	two := filepath.Join(t.TempDir(), "two")
	if err := clientcmd.WriteToFile(*config, two); err != nil {
		t.Fatal(err)
	}
	want(t, exit.OK, run(t, two, "nodes", "list"))
	elsewhere := want(t, exit.Failure, run(t, two, "nodes", "list", "--context", "elsewhere"))
	wantText(t, elsewhere.errOut, "127.0.0.1:1")

	account, err := client.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: "flags-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	request, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), account.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	empty, authority, server := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "ca.crt"), shared.RESTConfig()
	if err := os.WriteFile(authority, server.CAData, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := clientcmd.WriteToFile(*clientcmdapi.NewConfig(), empty); err != nil {
		t.Fatal(err)
	}
	token := want(t, exit.Failure, run(t, empty, "nodes", "list", "--server", server.Host, "--certificate-authority", authority, "--token", request.Status.Token))
	wantText(t, token.errOut, `User "system:serviceaccount:default:`+account.Name+`" cannot list resource "nodes"`)
}

// The server is of the minor version of client-go in this program, also if its patch version or
// commit is another.
func TestMatchServerVersion(t *testing.T) {
	cache := t.TempDir()
	must(t, "nodes", "list", "--match-server-version", "--cache-dir", cache)
	other := proxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/version" {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write([]byte(`{"major":"1","minor":"30","gitVersion":"v1.30.4"}`)); err != nil {
			t.Error(err)
		}
		return true
	})
	differs := want(t, exit.Failure, run(t, other, "nodes", "list", "--match-server-version", "--cache-dir", t.TempDir()))
	wantText(t, differs.errOut, "server version v1.30.4 differs from client version 1.", "leave --match-server-version out")
	if files, err := os.ReadDir(filepath.Join(cache, "http")); err != nil || len(files) == 0 {
		t.Errorf("nothing is cached in --cache-dir: %v", err)
	}
}

// Exit code and content do not depend on -o.
func TestExpressionsOnTheCluster(t *testing.T) {
	client := admin(t)
	makeNode(t, client, "worker", nil)
	if got := must(t, "nodes", "list", "-o", "jsonpath={.kind} {.nodes[*].name}").out; got != "NodeList worker" {
		t.Errorf("got %q", got)
	}
	if got := must(t, "nodes", "list", "-o", "custom-columns=N:.name,P:.protected").out; got != "N        P\nworker   false\n" {
		t.Errorf("got %q", got)
	}
	for _, format := range []string{"table", "json", "kyaml", "jsonpath={.healthy}", "custom-columns=N:.node", "name"} {
		want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "status", "-o", format))
	}
}
