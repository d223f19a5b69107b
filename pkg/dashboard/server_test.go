package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// bench is a server whose cluster is empty, and a browser.
type bench struct {
	*testing.T
	*Server
	cluster *Cluster
	// ahead moves the clock of the sessions.
	ahead  atomic.Int64
	secret string
	// stop ends the server.
	stop func()
	http.Client
}

func start(t *testing.T) *bench {
	t.Helper()
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "uid"}})
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		if action.(clienttesting.WatchActionImpl).ListOptions.SendInitialEvents != nil {
			return true, nil, apierrors.NewBadRequest("the fake client cannot do this, like an older API server")
		}
		return false, nil, nil
	})
	b := &bench{T: t, cluster: &Cluster{Client: client, Namespace: "nodecleanup-system", Context: "kind", Now: time.Now}}
	server, err := Listen(t.Context(), 0, b.cluster, func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	b.Server, b.stop = server, sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(b.stop)
	if b.Jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	return b
}

// do sends a request with the secret of the page. Change can change it.
func (b *bench) do(method, path string, change func(*http.Request)) (int, string, http.Header) {
	b.Helper()
	target := path
	if !strings.HasPrefix(path, "http") {
		target = "http://" + b.Address() + path
	}
	request, err := http.NewRequestWithContext(b.Context(), method, target, nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set(secretHeader, b.secret)
	if change != nil {
		change(request)
	}
	response, err := b.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	return response.StatusCode, string(body), response.Header
}

func (b *bench) want(code int, method, path string, change func(*http.Request)) string {
	b.Helper()
	got, body, _ := b.do(method, path, change)
	if got != code {
		b.Errorf("%s %s: %d, want %d: %s", method, path, got, code, body)
	}
	return body
}

var secretIn = regexp.MustCompile(`data-secret="([\w-]{43})"`)

func (b *bench) login() {
	b.Helper()
	match := secretIn.FindStringSubmatch(b.want(http.StatusOK, http.MethodGet, b.Link(), nil))
	if match == nil {
		b.Fatal("the page after the login has no secret")
	}
	b.secret = match[1]
}

func TestLoginLinkWorksOnce(t *testing.T) {
	b := start(t)
	b.want(http.StatusUnauthorized, http.MethodGet, "/api/about", nil)
	link := b.Link()
	match := secretIn.FindStringSubmatch(b.want(http.StatusOK, http.MethodGet, link, nil))
	b.secret = match[1]
	if body := b.want(http.StatusOK, http.MethodGet, "/api/about", nil); !strings.Contains(body, `"context":"kind"`) {
		t.Errorf("the page is about %s", body)
	}
	for _, path := range []string{link, "/login?token=", "/login", "/login?token=" + strings.Repeat("A", 43)} {
		if body := b.want(http.StatusUnauthorized, http.MethodGet, path, nil); secretIn.MatchString(body) {
			t.Errorf("%s opens a session", path)
		}
	}
}

func TestLoginLinkExpires(t *testing.T) {
	b := start(t)
	link := b.Link()
	b.ahead.Store(int64(linkLife + time.Second))
	b.want(http.StatusUnauthorized, http.MethodGet, link, nil)
}

func TestLinksAndSessionsAreBounded(t *testing.T) {
	s := &sessions{now: time.Now}
	first := s.newLink()
	for range 3 * maxLinks {
		s.newLink()
	}
	if _, _, ok := s.login(first); ok || len(s.links) != maxLinks {
		t.Errorf("%d links are kept, the oldest works: %t", len(s.links), ok)
	}
	for range 3 * maxSessions {
		s.login(s.newLink())
	}
	if len(s.open) != maxSessions {
		t.Errorf("%d sessions are kept", len(s.open))
	}
}

// The server of another port of 127.0.0.1 receives the cookie too, because cookies ignore ports. The secret of the
// page is what it does not have, and the cookie what a page of another site does not send.
func TestSessionNeedsCookieAndSecret(t *testing.T) {
	b := start(t)
	b.login()
	paths := []string{"/api/about", "/api/nodes", "/api/nodes/worker", "/api/nodes/worker/diagnosis", "/api/history", "/api/stream"}
	for _, path := range paths {
		b.want(http.StatusUnauthorized, http.MethodGet, path, func(request *http.Request) { request.Header.Del(secretHeader) })
		b.want(http.StatusUnauthorized, http.MethodGet, path, func(request *http.Request) { request.Header.Set(secretHeader, random()) })
	}
	here, err := url.Parse("http://" + b.Address())
	if err != nil {
		t.Fatal(err)
	}
	cookies := b.Jar.Cookies(here)
	if len(cookies) != 1 || cookies[0].Name != "nodecleanup-"+here.Port() {
		t.Fatalf("the cookies are %v", cookies)
	}
	b.Jar = nil
	for _, path := range paths {
		b.want(http.StatusUnauthorized, http.MethodGet, path, nil)
	}
	other := start(t)
	other.login()
	b.want(http.StatusUnauthorized, http.MethodGet, "/api/about", func(request *http.Request) {
		request.AddCookie(cookies[0])
		request.Header.Set(secretHeader, other.secret)
	})
}

func TestCookieIsStrict(t *testing.T) {
	b := start(t)
	_, _, header := b.do(http.MethodGet, b.Link(), nil)
	if cookie := header.Get("Set-Cookie"); !strings.HasSuffix(cookie, "; Path=/; HttpOnly; SameSite=Strict") {
		t.Errorf("the cookie is %q", cookie)
	}
}

// A site can make its own name resolve to 127.0.0.1. Its pages then have the same origin as this server in the eyes of the browser.
func TestForeignHostIsRefused(t *testing.T) {
	b := start(t)
	b.login()
	_, port, err := net.SplitHostPort(b.Address())
	if err != nil {
		t.Fatal(err)
	}
	link := b.Link()
	for _, host := range []string{"evil.example.com", "evil.example.com:" + port, "localhost:" + port, "127.0.0.1", "127.0.0.1:1", "0.0.0.0:" + port, "127.0.0.1.:" + port} {
		for _, path := range []string{"/", "/app.js", "/api/about", link} {
			b.want(http.StatusForbidden, http.MethodGet, path, func(request *http.Request) { request.Host = host })
		}
	}
	connection, err := net.Dial("tcp", b.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(connection).ReadString('\n'); err != nil || !strings.Contains(line, " 403 ") {
		t.Errorf("without a host: %q, %v", line, err)
	}
	b.want(http.StatusOK, http.MethodGet, link, nil) // None of them has used it.
}

// The server changes nothing, so no route takes another method, whatever the page of another site sends.
func TestOnlyReadsExist(t *testing.T) {
	b := start(t)
	b.login()
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		for _, path := range []string{"/", "/login", "/api/about", "/api/nodes/worker", "/api/history", "/api/stream"} {
			for _, kind := range []string{"application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
				code, _, _ := b.do(method, path, func(request *http.Request) { request.Header.Set("Content-Type", kind) })
				if code != http.StatusMethodNotAllowed {
					t.Errorf("%s %s with %s: %d", method, path, kind, code)
				}
			}
			b.want(http.StatusForbidden, method, path, func(request *http.Request) { request.Header.Set("Sec-Fetch-Site", "same-site") })
			b.want(http.StatusForbidden, method, path, func(request *http.Request) { request.Header.Set("Origin", "https://evil.example.com") })
		}
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	b := start(t)
	b.login()
	for _, path := range []string{"/", "/app.js", "/login", "/api/about", "/api/nodes/worker", "/nothing"} {
		_, _, header := b.do(http.MethodGet, path, nil)
		for name, want := range map[string]string{
			"Content-Security-Policy": securityPolicy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Access-Control-Allow-Origin": "",
		} {
			if header.Get(name) != want {
				t.Errorf("%s has %s %q", path, name, header.Get(name))
			}
		}
	}
}

func TestNamesThatNoNodeHasAreRefused(t *testing.T) {
	b := start(t)
	b.login()
	for _, name := range []string{"<script>alert(1)</script>", "a\nb", "A", strings.Repeat("a", 300), "a/b"} {
		code, body, header := b.do(http.MethodGet, "/api/nodes/"+url.PathEscape(name), nil)
		if code != http.StatusBadRequest || header.Get("Content-Type") != "application/json" || strings.Contains(body, "<") {
			t.Errorf("%q: %d %s", name, code, body)
		}
	}
}

// read reads the next event of a stream.
func read(t *testing.T, from *bufio.Reader) event {
	t.Helper()
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if data, is := strings.CutPrefix(line, "data: "); is {
			var got event
			if err := json.Unmarshal([]byte(data), &got); err != nil {
				t.Fatal(err)
			}
			return got
		}
	}
}

func (b *bench) stream(ctx context.Context) *http.Response {
	b.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.Address()+"/api/stream", nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set(secretHeader, b.secret)
	response, err := b.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	return response
}

func TestStreamSendsEveryChange(t *testing.T) {
	b := start(t)
	b.login()
	response := b.stream(t.Context())
	defer response.Body.Close()
	events := bufio.NewReader(response.Body)
	first := read(t, events)
	for first.Status == nil {
		first = read(t, events)
	}
	another := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "another", UID: "another"}}
	if _, err := b.cluster.Client.CoreV1().Nodes().Create(t.Context(), another, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	now := read(t, events)
	for now.Status.Nodes.Total != 2 {
		now = read(t, events)
	}
	if now.Revision <= first.Revision {
		t.Errorf("revision %d follows %d", now.Revision, first.Revision)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	b := start(t)
	b.login()
	var end []context.CancelFunc
	for range maxStreams {
		ctx, cancel := context.WithCancel(t.Context())
		end = append(end, cancel)
		response := b.stream(ctx)
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("a stream: %s", response.Status)
		}
	}
	if body := b.want(http.StatusServiceUnavailable, http.MethodGet, "/api/stream", nil); !strings.Contains(body, "close one") {
		t.Errorf("one stream too many: %s", body)
	}
	b.want(http.StatusOK, http.MethodGet, "/api/about", nil) // Streams take no slot of other answers.
	for _, cancel := range end {
		cancel()
	}
	for { // A closed stream frees its slot.
		response := b.stream(t.Context())
		code := response.StatusCode
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if code == http.StatusOK {
			return
		}
	}
}

// The end of the process ends a stream, instead of cutting it off.
func TestServeEndsWithOpenStreams(t *testing.T) {
	b := start(t)
	b.login()
	response := b.stream(t.Context())
	defer response.Body.Close()
	read(t, bufio.NewReader(response.Body))
	b.stop()
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Errorf("the stream ends with %v", err)
	}
}

func TestAnswersHoldNoSecretOfTheSession(t *testing.T) {
	b := start(t)
	b.login()
	b.cluster.update(func(s *state) { s.status = printer.NewStatus(metav1.Now().Time) })
	for _, path := range []string{"/", "/app.js", "/api/about", "/api/nodes", "/api/nodes/worker", "/api/history"} {
		if _, body, header := b.do(http.MethodGet, path, nil); strings.Contains(body, b.secret) || header.Get("Set-Cookie") != "" {
			t.Errorf("%s returns the secret", path)
		}
	}
}
