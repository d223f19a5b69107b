package agent_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// between is a proxy between the agent and the API server. A test can act right before a request
// reaches the API server, or after the API server has responded and before the agent gets the
// response.
type between struct {
	*httptest.Server

	mutex  sync.Mutex
	before func(*http.Request) (abort bool)
	after  func(*http.Request)
}

// put sets the functions that are called from now on. Each may be nil. If before returns true, the
// request never reaches the API server.
func (b *between) put(before func(*http.Request) (abort bool), after func(*http.Request)) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.before, b.after = before, after
}

func (b *between) hooks() (before func(*http.Request) bool, after func(*http.Request)) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.before, b.after
}

// between starts a proxy that ends with the test.
func (f *fixture) between() *between {
	f.Helper()
	target, err := url.Parse(shared.URL())
	if err != nil {
		f.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(shared.RESTConfig().CAData)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1 // A watch gets each change at once.
	proxy.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	b := &between{}
	b.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		keepBody(f, request)
		before, after := b.hooks()
		if before != nil && before(request) {
			panic(http.ErrAbortHandler)
		}
		if after == nil {
			proxy.ServeHTTP(w, request)
			return
		}
		answered := *proxy
		answered.ModifyResponse = func(*http.Response) error { after(request); return nil }
		answered.ServeHTTP(w, request)
	}))
	f.Cleanup(func() {
		b.CloseClientConnections()
		b.Close()
	})
	return b
}

// kubeconfig writes one that leads through the proxy, with a token of the
// agent's service account: a client certificate would end at the proxy.
func (b *between) kubeconfig(f *fixture) string {
	f.Helper()
	token, err := f.client.CoreV1().ServiceAccounts(f.namespace).CreateToken(f.Context(), api.Agent, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["proxy"] = &clientcmdapi.Cluster{Server: b.URL, InsecureSkipTLSVerify: true}
	config.AuthInfos["agent"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy", AuthInfo: "agent"}
	config.CurrentContext = "proxy"
	path := filepath.Join(f.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		f.Fatal(err)
	}
	return path
}

// keepBody keeps the body of a request readable for sends.
func keepBody(f *fixture, request *http.Request) {
	if request.Method != http.MethodPost && request.Method != http.MethodPut {
		return
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		f.Logf("reading what the agent sends: %v", err) // It was killed in the meantime.
	}
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	request.Body, _ = request.GetBody()
}

// sends reports whether the body of a POST contains a text. Only the request that creates an
// object contains its name, in JSON and in protobuf alike.
func sends(request *http.Request, text string) bool {
	if request.GetBody == nil {
		return false
	}
	body, err := request.GetBody()
	if err != nil {
		return false
	}
	sent, err := io.ReadAll(body)
	return err == nil && bytes.Contains(sent, []byte(text))
}
