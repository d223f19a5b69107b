package cluster

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Proxy returns a kubeconfig of an administrator whose requests pass a hook. A hook that has
// responded returns true; otherwise the API server responds.
func (c *Cluster) Proxy(t *testing.T, hook func(http.ResponseWriter, *http.Request) bool) (kubeconfig string) {
	t.Helper()
	forward := c.Forward(t)
	return KubeconfigOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hook(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
}

// Forward returns a proxy that sends each request to the API server, as an administrator.
func (c *Cluster) Forward(t *testing.T) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.Transport = transport
	forward.FlushInterval = -1 // A watch.
	return forward
}

// KubeconfigOf serves a handler in place of an API server until the test ends, and returns a
// kubeconfig for it.
func KubeconfigOf(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["proxy"] = &clientcmdapi.Cluster{Server: server.URL}
	config.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy"}
	config.CurrentContext = "proxy"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}
