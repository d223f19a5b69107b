package drain

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestWhatMayNotBeListedIsAnErrorAtOnce(t *testing.T) {
	s := &stub{answer: func(*http.Request) metav1.Status {
		return failure(403, metav1.StatusReasonForbidden, "cannot list pods")
	}}
	f := &follower{client: s.client(t).CoreV1().RESTClient(), clock: clock.RealClock{}, changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := f.follow(ctx, "pods", &corev1.Pod{}, podsOf("worker")); err == nil || !strings.Contains(err.Error(), "cannot list pods") {
		t.Errorf("error is %v", err)
	}
}

// client-go backs off without looking at the context, for half a minute at a time.
func TestADrainStopsAtOnceWhileTheAPIServerIsAway(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	clock := clocktesting.NewFakeClock(noon)
	p := &plugin{client: kubernetes.NewForConfigOrDie(&rest.Config{Host: away.URL}), clock: clock}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Cleanup(ctx, cleanup.Target{Node: ready(corev1.ConditionTrue)}) }()
	for !clock.HasWaiters() {
		runtime.Gosched()
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it did not stop")
	}
}

// A right that is taken away during a drain would leave it waiting for pods that it cannot see.
func TestADrainThatMayNoLongerLookSaysSoAndEnds(t *testing.T) {
	forbidden := false
	var mutex sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
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
		case query.Get("sendInitialEvents") != "":
			refuse(failure(422, metav1.StatusReasonInvalid, "it does not stream lists"))
		case ofPods && forbidden:
			refuse(failure(403, metav1.StatusReasonForbidden, "pods is forbidden: the role is gone"))
		case ofPods && query.Get("watch") != "":
			forbidden = true
			refuse(failure(403, metav1.StatusReasonForbidden, "pods is forbidden: the role is gone"))
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
	}))
	defer server.CloseClientConnections()
	clock := clocktesting.NewFakeClock(noon)
	p := &plugin{client: kubernetes.NewForConfigOrDie(&rest.Config{Host: server.URL, QPS: -1}), clock: clock}
	said := map[string]bool{}
	told := target()
	told.Node, told.Progress = ready(corev1.ConditionTrue), func(text string) { said[text] = true } // Read when it has ended.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- p.Cleanup(ctx, told) }()
	var err error
	for waiting := true; waiting; {
		select {
		case err = <-ended:
			waiting = false
		default:
			if clock.HasWaiters() {
				clock.Step(time.Second)
			}
			runtime.Gosched()
		}
	}
	lines := slices.Collect(maps.Keys(said))
	if want := "1 pod left: shop/cart (budget cart needs 1); this may be out of date: watching pods: "; !strings.Contains(strings.Join(lines, "\n"), want) {
		t.Errorf("said %q, want %q", lines, want)
	}
	if err == nil || !strings.Contains(err.Error(), "shop/cart (budget cart needs 1); what became of them cannot be seen: watching pods: ") || !strings.Contains(err.Error(), "the role is gone") || cleanup.IsPermanent(err) {
		t.Errorf("error is %v", err)
	}
}

// An API server that does not stream lists gives the newest state only to who
// does not ask for resourceVersion=0.
func TestAnOlderAPIServerIsAskedForItsNewestState(t *testing.T) {
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
	f := &follower{client: client.CoreV1().RESTClient(), clock: clock.RealClock{}, changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pods, err := f.follow(ctx, "pods", &corev1.Pod{}, podsOf("worker"))
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
