package portworx

import (
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

func TestNext(t *testing.T) {
	up := state{hostReady: true, status: statusOK}
	with := func(s state, change func(*state)) state { change(&s); return s }
	stopped := with(up, func(s *state) { s.service, s.status = serviceStop, statusOffline })
	removing := with(up, func(s *state) { s.enabled, s.status = enabledFalse, statusOffline })
	dead := state{status: statusOffline}
	for name, test := range map[string]struct {
		state state
		want  step
	}{
		"clean":                    {up, step{label: labelEnabled, value: enabledRemove, wait: "removing Portworx from the host"}},
		"copied":                   {with(up, func(s *state) { s.unclean = []string{"a (1) is resync"} }), step{wait: "waiting for 1 volumes to become clean: a (1) is resync"}},
		"copied, in the KVDB":      {with(up, func(s *state) { s.kvdb, s.unclean = true, []string{"a (1) is resync"} }), step{wait: "waiting for 1 volumes to become clean: a (1) is resync"}},
		"last copy":                {with(up, func(s *state) { s.last = []string{"a (1)"} }), step{wait: "the node has the last copy of 1 volumes: a (1)"}},
		"in the KVDB":              {with(up, func(s *state) { s.kvdb = true }), step{label: labelService, value: serviceStop, wait: "stopping Portworx, so that another node replaces the node in the KVDB"}},
		"stopped, in the KVDB":     {with(stopped, func(s *state) { s.kvdb, s.unclean = true, []string{"a (1) is unknown"} }), step{wait: "waiting for another node to replace the node in the KVDB"}},
		"failed over":              {with(stopped, func(s *state) { s.unclean = []string{"a (1) is unknown"} }), step{label: labelService, value: serviceStart, wait: "starting Portworx again, because the node has left the KVDB"}},
		"starts again":             {with(up, func(s *state) { s.service, s.status = serviceStart, "STATUS_INIT" }), step{wait: "waiting for Portworx to run on the node: its status is STATUS_INIT"}},
		"in maintenance":           {with(up, func(s *state) { s.status = "STATUS_MAINTENANCE" }), step{wait: "waiting for Portworx to run on the node: its status is STATUS_MAINTENANCE"}},
		"is being removed":         {with(removing, func(s *state) { s.enabled, s.status = enabledRemove, statusOK }), step{wait: "waiting for Portworx to stop on the node: its status is STATUS_OK"}},
		"off":                      {with(removing, func(s *state) { s.unclean = []string{"a (1) is unknown"} }), step{remove: true, wait: "removing the node from the Portworx cluster"}},
		"off, with the last copy":  {with(removing, func(s *state) { s.last = []string{"a (1)"} }), step{wait: "the node has the last copy of 1 volumes: a (1)"}},
		"off, in the KVDB":         {with(removing, func(s *state) { s.kvdb = true }), step{wait: "waiting for another node to replace the node in the KVDB"}},
		"dead":                     {dead, step{remove: true, wait: "removing the node from the Portworx cluster"}},
		"dead, not noticed":        {with(dead, func(s *state) { s.status = statusOK }), step{wait: "waiting for Portworx to stop on the node: its status is STATUS_OK"}},
		"dead, in the KVDB":        {with(dead, func(s *state) { s.kvdb = true }), step{wait: "waiting for another node to replace the node in the KVDB"}},
		"dead, with the last copy": {with(dead, func(s *state) { s.last = []string{"a (1)"} }), step{wait: "the node has the last copy of 1 volumes: a (1)"}},
		"is already being removed": {with(dead, func(s *state) { s.status = statusDecommissioned }), step{wait: "Portworx removes the node"}},
		"stopped by an operator":   {stopped, step{label: labelService, value: serviceStart, wait: "starting Portworx again, because the node has left the KVDB"}},
	} {
		if got := next(test.state); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

// The JSON has the form of the sample in
// https://github.com/portworx/px-docs/blob/gh-pages/_includes/pxctl/volume/volume-inspect-json-example.md.
func TestCopies(t *testing.T) {
	usable := map[string]bool{"a": true, "b": true}
	set := func(nodes string) string { return `{"nodes": [` + nodes + `]}` }
	run := func(state, current string) string {
		return `{"runtime_state": {"ID": "0", "ReadSet": "[0 1]", "RuntimeState": "` + state + `", "ReplicaSetCurrMid": "` + current + `"}}`
	}
	for name, test := range map[string]struct {
		sets, states  string
		on, last      bool
		uncleanReason string
	}{
		"two copies":                     {set(`"a", "b"`), run("clean", "a,b"), true, false, ""},
		"one copy":                       {set(`"a"`), run("clean", "a"), true, true, ""},
		"elsewhere":                      {set(`"b", "c"`), run("clean", "b,c"), false, false, ""},
		"the other is not usable":        {set(`"a", "c"`), run("clean", "a,c"), true, true, ""},
		"the other is not current":       {set(`"a", "b"`), run("resync", "a"), true, true, "resync"},
		"the own is not current":         {set(`"a", "b"`), run("clean", "b"), true, false, ""},
		"the other is not in the set":    {set(`"a"`), run("clean", "a,b"), true, true, ""},
		"no runtime state":               {set(`"a", "b"`), ``, true, true, "unknown"},
		"empty runtime state":            {set(`"a", "b"`), `{}`, true, true, "unknown"},
		"a part has its last copy":       {set(`"a", "b"`) + "," + set(`"a"`), run("clean", "a,b") + "," + run("clean", "a"), true, true, ""},
		"another part has its last copy": {set(`"a", "b"`) + "," + set(`"b"`), run("clean", "a,b") + "," + run("clean", "b"), true, false, ""},
		"another part is copied":         {set(`"a", "b"`) + "," + set(`"b"`), run("clean", "a,b") + "," + run("resync", "b"), true, false, "resync"},
		"no copies":                      {``, ``, false, false, ""},
	} {
		var v volume
		if err := json.Unmarshal([]byte(`{"id": "1", "locator": {"name": "v"}, "replica_sets": [`+test.sets+`], "runtime_state": [`+test.states+`]}`), &v); err != nil {
			t.Fatal(err)
		}
		if v.has("a") != test.on || v.lastCopy("a", usable) != test.last || v.unclean() != test.uncleanReason {
			t.Errorf("%s: on the node %t, last copy %t, unclean %q", name, v.has("a"), v.lastCopy("a", usable), v.unclean())
		}
	}
}

func TestTheNodeOfANode(t *testing.T) {
	of := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w1"}}
	of.Status.Addresses = []corev1.NodeAddress{{Address: "10.0.0.1"}, {Address: "w1.example.com"}, {Address: ""}}
	for _, test := range []struct {
		node node
		want bool
	}{
		{node{SchedulerNodeName: "w1", DataIP: "192.168.0.1"}, true},
		{node{SchedulerNodeName: "w2", DataIP: "10.0.0.1"}, false}, // Another Node has had the address.
		{node{DataIP: "10.0.0.1"}, true}, {node{MgmtIP: "10.0.0.1"}, true}, {node{Hostname: "w1.example.com"}, true},
		{node{DataIP: "10.0.0.2"}, false}, {node{}, false},
	} {
		if got := test.node.isOf(of); got != test.want {
			t.Errorf("%+v: %t", test.node, got)
		}
	}
}

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{
		`{"image": "busybox"}`: "",
		`{}`:                   "image: must not be empty",
		`{"image": "busybox", "namespace": "nodecleanup-system"}`: "namespace: is nodecleanup-system, the namespace of the agent",
		`{"image": "busybox", "namespace": "A"}`:                  `namespace: "A" is not a valid name of a namespace`,
		`{"image": "busybox", "serviceAccountName": ""}`:          `serviceAccountName: "" is not a valid name of a ServiceAccount`,
		`{"image": "busybox", "tokenSecret": "a/b"}`:              `tokenSecret: "a/b" is not a valid name of a Secret`,
		`{"image": "busybox", "url": "px"}`:                       "url: is not a URL",
		`{"image": "busybox", "url": "http://px:9021/v1"}`:        "url: must be the root of the REST gateway",
		`{"image": "busybox", "token": "x"}`:                      "token: must be in a Secret",
		`{"image": "busybox", "caBundle": "x"}`:                   "caBundle: ",
		`{"image": "busybox", "force": true}`:                     "force",
		`{"image": "busybox:${node.name}"}`:                       "image: cannot contain references",
	} {
		bound, faults := Descriptor(nil, nil, nil, nil, "").Bind([]byte(options))
		got := ""
		if err := errors.Join(faults...); err != nil {
			got = err.Error()
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", options, got, want)
		}
		if len(faults) == 0 && len(bound.(cleanup.NamespaceRuleRequirer).NamespaceRules()["portworx"]) < 2 {
			t.Errorf("%s: the rights for the Job are missing", options)
		}
		if want == "" && bound.(*plugin).URL != "http://portworx-api.portworx.svc:9021" {
			t.Errorf("the default URL is %s", bound.(*plugin).URL)
		}
	}
}

// The test fails if a command of the Job, or its Pod, is not as the documentation of Portworx demands.
func TestTheJob(t *testing.T) {
	bound, faults := Descriptor(nil, nil, nil, nil, "").Bind([]byte(`{"image": "busybox", "tokenSecret": "px-admin-token"}`))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if _, err := bound.(*plugin).runs("id", "zone"); err != nil {
		t.Error(err)
	}
	container := bound.(*plugin).pod("id", "zone").Spec.Containers[0]
	if got := strings.Join(container.Command, " "); got != "nsenter -t 1 -m -u -i -n -p -- /opt/pwx/bin/pxctl cluster delete id" {
		t.Errorf("the command is %s", got)
	}
	if zone := bound.(*plugin).pod("id", "zone").Spec.NodeSelector[corev1.LabelTopologyZone]; zone != "zone" {
		t.Errorf("the zone is %q", zone)
	}
	if container.Env[0].ValueFrom.SecretKeyRef.Name != "px-admin-token" {
		t.Errorf("the environment is %v", container.Env)
	}
	other, _ := Descriptor(nil, nil, nil, nil, "").Bind([]byte(`{"image": "busybox", "sameZone": false}`))
	if spec := other.(*plugin).pod("id", "zone").Spec; len(spec.NodeSelector) > 0 || len(spec.Containers[0].Env) > 0 {
		t.Errorf("without the options: %v, %v", spec.NodeSelector, spec.Containers[0].Env)
	}
}

func TestTransientErrors(t *testing.T) {
	unavailable := &httpclient.StatusError{System: "Portworx", Code: 503}
	for _, test := range []struct {
		err  error
		want bool
	}{
		{unavailable, true}, {cleanup.RetryAfter(unavailable, time.Minute), false}, {cleanup.Permanent(unavailable), false},
		{&httpclient.StatusError{Code: 429}, false}, {syscall.ECONNREFUSED, true}, {errors.New("the Portworx cluster has two nodes"), false},
	} {
		if got := transient(test.err); got != test.want {
			t.Errorf("%v: %t", test.err, got)
		}
	}
}
