package drain

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestForbiddenListFailsImmediately(t *testing.T) {
	s := &stub{answer: func(*http.Request) metav1.Status {
		return failure(403, metav1.StatusReasonForbidden, "cannot list pods")
	}}
	p, f := &plugin{client: s.client(t)}, &follower{changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := f.follow(ctx, p.podsOn("worker")); err == nil || !strings.Contains(err.Error(), "cannot list pods") {
		t.Errorf("error is %v", err)
	}
}

// A drain must not wait for client-go, which backs off for up to half a minute at a time.
func TestDrainStopsDuringAnAPIServerOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		})
		p := &plugin{client: clientOver(away), clock: clock.RealClock{}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Cleanup(ctx, cleanup.Target{Node: ready(corev1.ConditionTrue)}) }()
		synctest.Wait() // client-go backs off.
		cancel()
		cancelled := time.Now()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(cancelled); took > 0 {
			t.Errorf("it stopped after %s", took)
		}
		<-time.After(time.Hour) // The bubble waits for client-go.
	})
}

// Without read rights, a drain would wait for Pods that it cannot see.
func TestDrainFailsWhenItLosesReadRights(t *testing.T) {
	forbidden := false
	var mutex sync.Mutex
	handler := http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		answer := func(code int, object any) {
			writer.Header().Set("Content-Type", "application/json")
			writer.WriteHeader(code)
			if err := json.NewEncoder(writer).Encode(object); err != nil {
				t.Error(err)
			}
		}
		refuse := func(status metav1.Status) {
			status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
			answer(int(status.Code), status)
		}
		ofPods, query := strings.HasSuffix(request.URL.Path, "/pods"), request.URL.Query()
		switch {
		case request.Method == http.MethodPost:
			refuse(overBudget(0))
		case strings.HasSuffix(request.URL.Path, "/poddisruptionbudgets"):
			refuse(failure(403, metav1.StatusReasonForbidden, "poddisruptionbudgets is forbidden"))
		case query.Get("sendInitialEvents") != "":
			refuse(failure(422, metav1.StatusReasonInvalid, "it does not stream lists"))
		case ofPods && forbidden:
			refuse(failure(403, metav1.StatusReasonForbidden, "pods is forbidden: the role is deleted"))
		case ofPods && query.Get("watch") != "":
			forbidden = true
			refuse(failure(403, metav1.StatusReasonForbidden, "pods is forbidden: the role is deleted"))
		case query.Get("watch") != "":
			writer.(http.Flusher).Flush()
			mutex.Unlock()
			<-request.Context().Done()
			mutex.Lock()
		case ofPods:
			answer(http.StatusOK, corev1.PodList{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"},
				ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []corev1.Pod{*makePod("cart")},
			})
		default:
			node := ready(corev1.ConditionTrue)
			node.Spec.Unschedulable = true
			answer(http.StatusOK, corev1.NodeList{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"},
				ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []corev1.Node{*node},
			})
		}
	})
	said := map[string]bool{}
	target := target()
	target.Node, target.Progress = ready(corev1.ConditionTrue), func(text string) { said[text] = true } // Read when it has ended.
	var err error
	synctest.Test(t, func(t *testing.T) {
		p := &plugin{client: clientOver(inMemory{handler}), clock: clock.RealClock{}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err = p.Cleanup(ctx, target)
		cancel()
		<-time.After(time.Hour) // The bubble waits for client-go.
	})
	lines := slices.Collect(maps.Keys(said))
	if want := "1 pod remaining: shop/cart (budget cart needs 1); this may be out of date: watching pods: "; !strings.Contains(strings.Join(lines, "\n"), want) {
		t.Errorf("said %q, want %q", lines, want)
	}
	if err == nil || !strings.Contains(err.Error(), "shop/cart (budget cart needs 1); their present state is unknown: watching pods: ") || !strings.Contains(err.Error(), "the role is deleted") || cleanup.IsPermanent(err) {
		t.Errorf("error is %v", err)
	}
}

// An API server that does not stream lists returns the newest state only to requests without
// resourceVersion=0.
func TestListOnAnOlderAPIServerIsConsistent(t *testing.T) {
	var listed url.Values
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		query := request.URL.Query()
		writer.Header().Set("Content-Type", "application/json")
		switch {
		case query.Get("sendInitialEvents") != "":
			writer.WriteHeader(http.StatusUnprocessableEntity)
		case query.Get("watch") != "":
			writer.(http.Flusher).Flush()
			<-request.Context().Done()
		default:
			listed = query
			list := corev1.PodList{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"},
				ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []corev1.Pod{*makePod("a")},
			}
			if err := json.NewEncoder(writer).Encode(list); err != nil {
				t.Error(err)
			}
		}
	}))
	defer server.Close()
	client := kubernetes.NewForConfigOrDie(&rest.Config{Host: server.URL})
	p, f := &plugin{client: client}, &follower{changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pods, err := f.follow(ctx, p.podsOn("worker"))
	if err != nil {
		t.Fatal(err)
	}
	if names := list(pods); len(names) != 1 || names[0].Name != "a" {
		t.Errorf("pods: %v", names)
	}
	if listed.Get("fieldSelector") != "spec.nodeName=worker" || listed.Get("resourceVersion") != "" {
		t.Errorf("listed with %v", listed)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// inMemory serves requests without a network, which a synctest bubble could not wait for.
type inMemory struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (m inMemory) RoundTrip(request *http.Request) (*http.Response, error) {
	body, writer := io.Pipe()
	answer := &memoryWriter{header: http.Header{}, body: writer, begun: make(chan struct{})}
	context.AfterFunc(request.Context(), func() { writer.CloseWithError(request.Context().Err()) })
	go func() {
		m.ServeHTTP(answer, request)
		answer.WriteHeader(http.StatusOK)
		_ = writer.Close() // It never fails.
	}()
	select {
	case <-answer.begun:
		return &http.Response{StatusCode: answer.code, Header: answer.header, Body: body, Request: request}, nil
	case <-request.Context().Done():
		return nil, request.Context().Err()
	}
}

type memoryWriter struct {
	header http.Header
	body   io.Writer
	once   sync.Once
	code   int
	// begun is closed when code and header are final.
	begun chan struct{}
}

func (w *memoryWriter) Header() http.Header { return w.header }

func (w *memoryWriter) WriteHeader(code int) { w.once.Do(func() { w.code = code; close(w.begun) }) }

func (w *memoryWriter) Write(data []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(data)
}

// Flush implements http.Flusher.
func (w *memoryWriter) Flush() { w.WriteHeader(http.StatusOK) }
