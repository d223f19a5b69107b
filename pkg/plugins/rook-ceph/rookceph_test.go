package rookceph

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

const someUUID = "6b3f1c6e-7f0a-4d53-8a5e-0d4a3c1b2a99"

// deployment returns the Deployment of an OSD on node a, after change.
func deployment(name string, change func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
		Namespace: "rook-ceph", Name: name, UID: types.UID(name),
		Labels: map[string]string{"app": "rook-ceph-osd", "ceph-osd-id": "7", "portable": "false", "topology-location-host": "a-example-com"},
	}}
	d.Spec.Template.Spec = corev1.PodSpec{
		NodeSelector: map[string]string{corev1.LabelHostname: "a.example.com"},
		Containers: []corev1.Container{
			{Name: "log-collector", Image: "logs"},
			{Name: "osd", Image: "ceph:v19", Env: []corev1.EnvVar{{Name: "ROOK_OSD_UUID", Value: someUUID}}},
		},
	}
	if change != nil {
		change(d)
	}
	return d
}

func TestFind(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*appsv1.Deployment)
		want   string
	}{
		"an OSD of the Node": {nil, "osd.7"},
		"another Node":       {func(d *appsv1.Deployment) { d.Spec.Template.Spec.NodeSelector[corev1.LabelHostname] = "b.example.com" }, ""},
		"a portable OSD":     {func(d *appsv1.Deployment) { d.Labels["portable"] = "true" }, ""},
		"no OSD":             {func(d *appsv1.Deployment) { d.Labels["app"] = "rook-ceph-mon" }, ""},
		"no id": {func(d *appsv1.Deployment) { d.Labels["ceph-osd-id"] = "x" },
			`error: deployment rook-ceph/d: label ceph-osd-id is "x", not the id of an OSD`},
		"a command as a UUID": {func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[1].Env[0].Value = "1,8=" + someUUID },
			"error: deployment rook-ceph/d: container osd has no variable ROOK_OSD_UUID with the UUID of the OSD"},
		"no host": {func(d *appsv1.Deployment) { delete(d.Labels, "topology-location-host") },
			"error: deployment rook-ceph/d: label topology-location-host is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			bound, faults := Descriptor(fake.NewClientset(deployment("d", test.change)), clock.RealClock{}, "").Bind([]byte("{}"))
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{corev1.LabelHostname: "a.example.com"}}}
			osds, err := bound.(*plugin).find(t.Context(), node)
			got := describe(osds)
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestTheJobOfAPhase(t *testing.T) {
	bound, _ := Descriptor(fake.NewClientset(), clock.RealClock{}, "").Bind([]byte("{}"))
	p := bound.(*plugin)
	one, err := osdOf(deployment("d", nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.runs(evacuate, []osd{one}); err != nil {
		t.Error(err)
	}
	target := cleanup.Target{Step: "ceph", IdempotencyKey: "uid/ceph", Progress: func(string) {}}
	other := one
	other.uuid = "other"
	keys := map[string]bool{}
	for _, key := range []string{
		targetOf(target, evacuate, []osd{one}).IdempotencyKey, targetOf(target, remove, []osd{one}).IdempotencyKey,
		targetOf(target, evacuate, []osd{other}).IdempotencyKey, targetOf(target, evacuate, []osd{one, other}).IdempotencyKey,
	} {
		if !strings.HasPrefix(key, "uid/ceph/") || keys[key] {
			t.Errorf("%s is not the key of one phase and its OSDs", key)
		}
		keys[key] = true
	}
	if targetOf(target, evacuate, []osd{one}).IdempotencyKey != targetOf(target, evacuate, []osd{one}).IdempotencyKey {
		t.Error("a repetition has another key")
	}
}

func TestHealthOfCeph(t *testing.T) {
	for status, want := range map[string]string{
		`{"health": "HEALTH_OK"}`: "",
		`{"health": "HEALTH_WARN", "details": {"PG_DEGRADED": {"message": "Degraded data redundancy"}, "MON_DOWN": {}}}`:                             "",
		`{"health": "HEALTH_ERR", "details": {"PG_DAMAGED": {"message": "1 pg\ninconsistent"}, "OBJECT_UNFOUND": {"message": "2 objects unfound"}}}`: "OBJECT_UNFOUND (2 objects unfound), PG_DAMAGED (1 pg inconsistent)",
	} {
		var health cephHealth
		if err := json.Unmarshal([]byte(status), &health); err != nil {
			t.Fatal(err)
		}
		if got := health.problem(); got != want {
			t.Errorf("%s: got %q, want %q", status, got, want)
		}
	}
}

// The CLI and the conditions show this error, so it names the missing right.
func TestAnErrorAboutTheHealthHasTheMessageOfTheAPIServer(t *testing.T) {
	const message = `cephclusters.ceph.rook.io is forbidden: User "agent" cannot list resource "cephclusters"`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": %q, "reason": "Forbidden", "code": 403}`, message)
	}))
	t.Cleanup(server.Close)
	bound, _ := Descriptor(kubernetes.NewForConfigOrDie(&rest.Config{Host: server.URL}), clock.RealClock{}, "").Bind([]byte("{}"))
	err := bound.(cleanup.HealthChecker).CheckHealth(t.Context())
	if !apierrors.IsForbidden(err) || err.Error() != "reading the health of Ceph in namespace rook-ceph: "+message {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{
		`{}`:                                  "",
		`{"namespace": "nodecleanup-system"}`: "namespace: is nodecleanup-system, the namespace of the agent",
		`{"namespace": "A"}`:                  "namespace: \"A\" is not a valid name of a namespace",
		`{"user": "client.admin"}`:            "user: \"client.admin\" is not the name of a Ceph user without client.",
		`{"keySecret": "a/b"}`:                "keySecret: \"a/b\" is not a valid name of a Secret",
		`{"image": "ceph:${node.name}"}`:      "image: cannot contain references",
		`{"image": "ceph@sha256:0123"}`:       "",
		`{"serviceAccountName": ""}`:          "serviceAccountName: \"\" is not a valid name of a ServiceAccount",
	} {
		bound, faults := Descriptor(nil, nil, "").Bind([]byte(options))
		if len(faults) == 0 && len(bound.(cleanup.NamespaceRuleRequirer).NamespaceRules()["rook-ceph"]) < 3 {
			t.Errorf("%s: the rights for the Jobs are missing", options)
		}
		got := ""
		if err := errors.Join(faults...); err != nil {
			got = err.Error()
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", options, got, want)
		}
	}
}
