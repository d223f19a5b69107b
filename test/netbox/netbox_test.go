package netbox

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/netbox"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// options returns the options of a step, as JSON, with further ones.
func (n *netBox) options(t *testing.T, further map[string]any) string {
	all := map[string]any{"url": n.server.URL, "token": map[string]any{"secretKeyRef": map[string]string{"name": "netbox", "key": "token"}}}
	for name, value := range further {
		all[name] = value
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (n *netBox) bind(t *testing.T, further map[string]any) cleanup.Plugin {
	t.Helper()
	plugin, faults := netbox.Descriptor(n.server.Client(), plugintest.Secrets{"token": tokenV1}).Bind([]byte(n.options(t, further)))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

// targetOf returns a target, and the outputs that it records.
func targetOf(outputs map[string]string) (cleanup.Target, map[string]string) {
	recorded := map[string]string{}
	return cleanup.Target{
		Node: &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "w1", UID: "uid-1", Labels: map[string]string{"serial": "sn1"}},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}, {Type: corev1.NodeInternalIP, Address: "2001:db8::7"}}},
		},
		Step: "netbox", Attempt: 1, Outputs: map[string]map[string]string{"netbox": outputs}, Log: slog.New(slog.DiscardHandler),
		Recorded: func(name, value string) error { recorded[name] = value; return nil },
	}, recorded
}

func TestTheStatusOfTheOneRecordIsSet(t *testing.T) {
	for name, test := range map[string]struct {
		path    string
		options map[string]any
	}{
		"name in another case": {devices, nil},
		"name in a site":       {devices, map[string]any{"site": "berlin"}},
		"serial":               {devices, map[string]any{"field": "serial", "value": "${node.labels['serial']}"}},
		"asset tag":            {devices, map[string]any{"field": "asset_tag", "value": "at-1"}},
		"custom field":         {devices, map[string]any{"field": "cf_machine_id", "value": "${node.uid}"}},
		"number in a field":    {devices, map[string]any{"field": "cf_number", "value": "7"}},
		"address":              {devices, map[string]any{"matchAddress": true}},
		"virtual machine":      {machines, map[string]any{"kind": "VirtualMachine", "cluster": "vsphere"}},
		"custom status":        {machines, map[string]any{"kind": "VirtualMachine", "status": "offline"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetBox(t)
			n.custom = append(n.custom, "number")
			n.add(devices, map[string]any{"name": "w2", "serial": "SN2", "custom_fields": map[string]any{"machine_id": "uid-1-and-more", "number": 71}})
			want := n.add(test.path, map[string]any{
				"name": "W1", "serial": "SN1", "asset_tag": "AT-1", "site": map[string]any{"slug": "berlin"}, "cluster": map[string]any{"name": "vsphere"},
				"primary_ip6": map[string]any{"address": "2001:DB8::7/64"}, "custom_fields": map[string]any{"machine_id": "uid-1", "number": 7},
			})
			if test.path == machines {
				n.add(devices, map[string]any{"name": "w1"})
			}
			status := "decommissioning"
			if other, has := test.options["status"]; has {
				status = other.(string)
			}
			target, recorded := targetOf(nil)
			if err := n.bind(t, test.options).Cleanup(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			again, _ := targetOf(recorded)
			if err := n.bind(t, test.options).Cleanup(t.Context(), again); err != nil {
				t.Fatal(err)
			}
			if n.statusOf(test.path, want) != status || n.changes != 1 || recorded["id"] != strconv.Itoa(want) {
				t.Errorf("%d changes, outputs %v: %v", n.changes, recorded, n.records)
			}
		})
	}
}

// Whatever NetBox returns, the plugin changes no record that it was not asked to change.
func TestNothingElseIsChanged(t *testing.T) {
	unknown := "NetBox has no custom field rack_id of devices"
	for name, test := range map[string]struct {
		options map[string]any
		prepare func(n *netBox)
		says    string
	}{
		"two of that name":        {nil, func(n *netBox) { n.add(devices, map[string]any{"name": "W1"}) }, `NetBox has 2 devices with name "w1": use a field that identifies one`},
		"an unknown custom field": {map[string]any{"field": "cf_rack_id", "value": "7"}, func(*netBox) {}, unknown},
		"an unknown custom field of many": {map[string]any{"field": "cf_rack_id", "value": "7"}, func(n *netBox) {
			for range 60 {
				n.add(devices, nil)
			}
		}, unknown},
		"too many": {map[string]any{"field": "cf_machine_id", "value": "1"}, func(n *netBox) {
			for i := range 60 {
				n.add(devices, map[string]any{"custom_fields": map[string]any{"machine_id": fmt.Sprint(i*10 + 1)}})
			}
		}, "NetBox returns 60 devices"},
		"an empty value":           {map[string]any{"field": "serial", "value": "${node.labels['other']}"}, func(*netBox) {}, "the value of serial is empty"},
		"another machine's record": {map[string]any{"matchAddress": true}, func(*netBox) {}, "no primary IP address of device 1"},
		"none":                     {map[string]any{"value": "w2", "mustExist": true}, func(*netBox) {}, `NetBox has no device with name "w2"`},
		"a site that is ignored":   {map[string]any{"site": "paris", "mustExist": true}, func(n *netBox) { n.ignored = []string{"site"} }, `in site "paris"`},
		"another site":             {map[string]any{"site": "paris", "mustExist": true}, func(*netBox) {}, `in site "paris"`},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetBox(t)
			n.add(devices, map[string]any{"name": "w1", "primary_ip4": map[string]any{"address": "10.0.0.8/24"}})
			test.prepare(n)
			target, _ := targetOf(nil)
			err := n.bind(t, test.options).Cleanup(t.Context(), target)
			if err == nil || !strings.Contains(err.Error(), test.says) || !cleanup.IsPermanent(err) || n.changes != 0 {
				t.Errorf("%v, permanent %t, %d changes", err, cleanup.IsPermanent(err), n.changes)
			}
		})
	}
}

func TestAnAbsentRecordIsDone(t *testing.T) {
	for _, action := range []string{"SetStatus", "Delete"} {
		n := newNetBox(t)
		plugin := n.bind(t, map[string]any{"action": action})
		target, recorded := targetOf(nil)
		if err := plugin.Cleanup(t.Context(), target); err != nil || len(recorded) != 0 {
			t.Errorf("%s of none: %v, %v", action, err, recorded)
		}
		// It is deleted after the search.
		id := n.add(devices, map[string]any{"name": "w1"})
		n.afterSearch = func() { delete(n.records[devices], id) }
		if err := plugin.Cleanup(t.Context(), target); err != nil {
			t.Errorf("%s of a deleted one: %v", action, err)
		}
	}
}

// The agent is killed after the deletion. Before it starts again, a new machine gets the name.
func TestARepeatLeavesTheNextRecordOfThatName(t *testing.T) {
	n := newNetBox(t)
	n.add(devices, map[string]any{"name": "w1"})
	options := map[string]any{"action": "Delete", "mustExist": true}
	target, recorded := targetOf(nil)
	if err := n.bind(t, options).Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	next := n.add(devices, map[string]any{"name": "w1"})
	again, _ := targetOf(recorded)
	if err := n.bind(t, options).Cleanup(t.Context(), again); err != nil || n.statusOf(devices, next) != "active" || n.changes != 1 {
		t.Errorf("%v, %d changes, status %q", err, n.changes, n.statusOf(devices, next))
	}
}

func TestTokens(t *testing.T) {
	for _, token := range []string{tokenV1, tokenV2 + "\n"} {
		n := newNetBox(t)
		plugin, faults := netbox.Descriptor(n.server.Client(), plugintest.Secrets{"token": token}).Bind([]byte(n.options(t, nil)))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestHealth(t *testing.T) {
	for name, test := range map[string]struct {
		options map[string]any
		answer  http.HandlerFunc
		says    string
	}{
		"no NetBox":       {nil, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, "the answer is not from NetBox"},
		"no custom field": {map[string]any{"field": "cf_rack_id"}, nil, "NetBox has no custom field of devices for the option field, cf_rack_id"},
		"no rights": {nil, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"detail":"Invalid token"}`)
		}, "NetBox answers 403 Forbidden: Invalid token"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetBox(t)
			n.add(devices, nil)
			if test.answer != nil {
				n.Answering(t, test.answer)
			}
			if err := n.bind(t, test.options).(cleanup.HealthChecker).CheckHealth(t.Context()); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Error(err)
			}
		})
	}
}

// NetBox refuses an unknown status with 400.
func TestARefusedStatus(t *testing.T) {
	n := newNetBox(t)
	n.add(devices, map[string]any{"name": "w1"})
	plugin := n.bind(t, map[string]any{"status": "gone"})
	n.t = &testing.T{} // The document does not allow this request.
	target, _ := targetOf(nil)
	if err := plugin.Cleanup(t.Context(), target); err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "NetBox answers 400 Bad Request") || n.changes != 0 {
		t.Errorf("%v, %d changes", err, n.changes)
	}
}

func TestPreview(t *testing.T) {
	n := newNetBox(t)
	object := cleanup.Object{Kind: "NetBoxDevice", Name: fmt.Sprintf("w1 (id %d)", n.add(devices, map[string]any{"name": "w1"}))}
	for _, test := range []struct {
		options map[string]any
		want    []cleanup.Effect
	}{
		{nil, []cleanup.Effect{
			{Action: "SetStatus", Object: cleanup.Object{Kind: "NetBoxDevice", Name: "w1"}, Reason: "to decommissioning, found by name"},
			{Action: "SetStatus", Object: object, Reason: "its status is active", ReportedBy: "NetBox"},
		}},
		{map[string]any{"status": "active"}, []cleanup.Effect{
			{Action: "SetStatus", Object: cleanup.Object{Kind: "NetBoxDevice", Name: "w1"}, Reason: "to active, found by name"},
			{Action: cleanup.Skip, Object: object, Reason: "its status is active", ReportedBy: "NetBox"},
		}},
		{map[string]any{"action": "Delete", "value": "w2"}, []cleanup.Effect{
			{Action: "Delete", Object: cleanup.Object{Kind: "NetBoxDevice", Name: "w2"}, Reason: "found by name"},
			{Action: cleanup.Skip, Reason: `NetBox has no device with name "w2": not found`, ReportedBy: "NetBox"},
		}},
	} {
		target, _ := targetOf(nil)
		effects, err := n.bind(t, test.options).(cleanup.Previewer).Preview(t.Context(), target)
		if err != nil || !slices.Equal(effects, test.want) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, effects, test.want)
		}
	}
}

func TestConformance(t *testing.T) {
	for _, action := range []string{"SetStatus", "Delete"} {
		t.Run(action, func(t *testing.T) {
			n, values := newNetBox(t), plugintest.Secrets{"token": tokenV2}
			plugintest.Run(t, plugintest.Suite{
				Descriptor: netbox.Descriptor(n.server.Client(), values),
				Options:    n.options(t, map[string]any{"action": action}),
				Node: func(_ *testing.T, name string) *corev1.Node {
					n.add(devices, map[string]any{"name": name})
					return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)}}
				},
				Effects: func(*testing.T) int {
					n.mutex.Lock()
					defer n.mutex.Unlock()
					return n.changes
				},
				Hang: func(t *testing.T, _ *corev1.Node) <-chan struct{} { return n.Hang(t) },
				Break: func(t *testing.T) {
					n.Answering(t, func(w http.ResponseWriter, r *http.Request) {
						http.Error(w, r.Header.Get("Authorization"), http.StatusBadGateway)
					})
				},
				Refuse: func(t *testing.T) {
					n.readOnly = true
					t.Cleanup(func() { n.readOnly = false })
				},
				Throttle: n.Throttle,
				Unhealthy: func(t *testing.T) {
					values["token"] = "canary-wrong"
					t.Cleanup(func() { values["token"] = tokenV2 })
				},
				Canary: "canary",
			})
		})
	}
}
