package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

const worksProbe = "steps:\n- {name: works, plugin: probe}\n"

// leaving returns nodes and deletes the first three before an agent runs, so that no cleanup
// begins before the third deletion.
func (f *fixture) leaving() []*corev1.Node {
	f.Helper()
	var nodes []*corev1.Node
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		nodes = append(nodes, f.protected(name))
	}
	for _, node := range nodes[:3] {
		f.delete(node)
	}
	return nodes[:3]
}

func TestTooManyDeletedNodesEngageTheBrake(t *testing.T) {
	f := setUp(t, "brake: {maxTerminating: 40%}\n"+worksProbe)
	var begun atomic.Int32
	f.probes[""] = func(context.Context, cleanup.Target) error {
		begun.Add(1)
		return nil
	}
	leaving := f.leaving()
	stop := f.start(f.options())
	const reason = "3 of 5 protected nodes are terminating (limit 40%)"
	f.awaitPauseEvent("BrakeEngaged", reason)
	message := f.awaitState(leaving[0], api.Pending)
	if !strings.Contains(message, reason) {
		t.Errorf("the condition says %q", message)
	}
	// The next agent continues with the state that this one has stored.
	f.eventually("the state is stored", func(ctx context.Context) (bool, error) {
		status, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(ctx, api.StatusName, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		brake, err := api.BrakeOf(status)
		return brake.Since != nil, err
	})
	stop()
	f.start(f.options())
	f.patch(leaving[1], `{"metadata":{"annotations":{"`+api.AnnotationBypass+`":"true","`+api.AnnotationBypassBy+`":"admin"}}}`)
	f.awaitDeleted(leaving[1])
	// Now there are 2, as many as the limit, and they wait all the same.
	if later := f.awaitState(leaving[2], api.Pending); later != message {
		t.Errorf("the condition says %q, before %q", later, message)
	}
	if begun := begun.Load(); begun != 0 {
		t.Errorf("%d cleanups began", begun)
	}
	f.pause("false", time.Now().UTC().Format(time.RFC3339), "we meant it")
	f.awaitDeleted(leaving[0])
	f.awaitDeleted(leaving[2])
	f.awaitPauseEvent("BrakeReleased", "we meant it")
}

// Otherwise the status would not show the brake while Nodes wait, and the next leader would
// release it.
func TestBrakeSurvivesDeletionOfTheStatus(t *testing.T) {
	const brake = "brake: {maxTerminating: 2}\n"
	f := setUp(t, brake+worksProbe)
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	f.leaving()
	f.start(f.options())
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	engaged := func(ctx context.Context) (bool, error) {
		status, err := configMaps.Get(ctx, api.StatusName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		stored, err := api.BrakeOf(status)
		return stored.Since != nil, err
	}
	f.eventually("the brake is stored", engaged)
	if err := configMaps.Delete(t.Context(), api.StatusName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.configure(brake + worksProbe + "- {name: more, plugin: probe}\n") // Then the agent writes its status.
	f.eventually("the brake is stored again", engaged)
}

func TestBrakeIsReleasedAfterAQuietTime(t *testing.T) {
	f := setUp(t, "brake: {maxTerminating: 2, releaseAfter: 3s}\n"+worksProbe)
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	leaving := f.leaving()
	f.start(f.options())
	for _, node := range leaving {
		f.awaitDeleted(node)
	}
	f.awaitPauseEvent("BrakeEngaged", "3 of 5 protected nodes are terminating (limit 2)")
	f.awaitPauseEvent("BrakeReleased", "no new cause for 3s")
}

func TestOutsideTheMaintenanceWindowsCleanupsWait(t *testing.T) {
	// Twelve hours away from now, at whatever time the test runs.
	opens := time.Now().UTC().Add(12 * time.Hour).Truncate(time.Hour)
	f := setUp(t, fmt.Sprintf("windows: [{schedule: '0 %d * * *', duration: 1h}]\n", opens.Hour())+worksProbe)
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	want := "outside the maintenance windows; the next one opens at " + opens.Format(time.RFC3339)
	if message := f.awaitState(node, api.Pending); message != want {
		t.Errorf("the condition says %q, want %q", message, want)
	}
	f.awaitEvent(node, "CleanupWaiting", want)
	f.configure("windows: [{schedule: '* * * * *', duration: 1h}]\n" + worksProbe)
	f.awaitDeleted(node)
}

// refusing answers the first read of a Node in the place of the API server.
type refusing struct {
	next http.RoundTripper
	done *atomic.Bool
}

func (r refusing) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodGet && strings.HasSuffix(request.URL.Path, "/nodes/worker") && !r.done.Swap(true) {
		answer := httptest.NewRecorder()
		answer.WriteHeader(http.StatusServiceUnavailable)
		return answer.Result(), nil
	}
	return r.next.RoundTrip(request)
}

func TestRefusedRequestsEngageTheBrake(t *testing.T) {
	// A leader of these tests renews its Lease ten times a second, so that one refusal is about 2 %.
	f := setUp(t, "brake: {apiServerErrors: {percent: 1, over: 4s}, releaseAfter: 1s}\n"+worksProbe)
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	options := f.options()
	var done atomic.Bool
	options.REST.Wrap(func(next http.RoundTripper) http.RoundTripper { return refusing{next, &done} })
	f.start(options)
	f.eventually("the leader has sent some requests", func(ctx context.Context) (bool, error) {
		lease, err := f.client.CoordinationV1().Leases(f.namespace).Get(ctx, api.Agent, metav1.GetOptions{})
		return err == nil && lease.Spec.RenewTime.Sub(lease.Spec.AcquireTime.Time) > 3*time.Second, nil
	})
	node := f.protected("worker")
	f.delete(node)
	f.awaitEvent(node, "CleanupWaiting", "brake engaged")
	f.awaitPauseEvent("BrakeEngaged", "API requests failed with 429 or 5xx since ")
	f.awaitDeleted(node)
	f.awaitPauseEvent("BrakeReleased", "no new cause for 1s")
}

func TestFiringAlertsEngageTheBrake(t *testing.T) {
	var fires atomic.Bool
	fires.Store(true)
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		alerts := ""
		if fires.Load() && request.Header.Get("Authorization") == "Bearer t0ken" {
			alerts = `{"labels":{"alertname":"EtcdDown"},"state":"firing"}`
		}
		fmt.Fprintf(w, `{"status":"success","data":{"alerts":[%s]}}`, alerts)
	}))
	defer prometheus.Close()
	f := setUp(t, "brake: {releaseAfter: 1s, alerts: {url: '"+prometheus.URL+"', names: [EtcdDown], bearerToken: {secretKeyRef: {name: prometheus, key: token}}}}\n"+worksProbe)
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "prometheus"}, StringData: map[string]string{"token": "t0ken"}}
	if _, err := f.client.CoreV1().Secrets(f.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.start(f.options())
	f.awaitPauseEvent("BrakeEngaged", "alerts are firing: EtcdDown")
	node := f.protected("worker")
	f.delete(node)
	f.awaitEvent(node, "CleanupWaiting", "alerts are firing: EtcdDown")
	fires.Store(false)
	f.awaitDeleted(node)
	f.awaitPauseEvent("BrakeReleased", "no new cause for 1s")
}

// Otherwise status would not know whether the brake is engaged until the brake changes.
func TestUndecodableBrakeIsWrittenAgain(t *testing.T) {
	f := setUp(t, "brake: {maxTerminating: 2}\n"+worksProbe)
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	f.leaving()
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	broken := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: api.StatusName}, Data: map[string]string{api.BrakeKey: "{"}}
	if _, err := configMaps.Create(t.Context(), broken, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.start(f.options())
	for range 2 {
		f.eventually("the state of the brake is stored", func(ctx context.Context) (bool, error) {
			status, err := configMaps.Get(ctx, api.StatusName, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			brake, err := api.BrakeOf(status)
			return err == nil && brake.Since != nil, nil
		})
		if _, err := configMaps.Patch(t.Context(), api.StatusName, types.MergePatchType, []byte(`{"data":{"`+api.BrakeKey+`":"[]"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
