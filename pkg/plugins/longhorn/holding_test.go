package longhorn

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// on returns a healthy replica on a node, changed.
func on(name string, change func(*replica)) replica {
	var one replica
	one.Metadata.Name, one.Spec.NodeID, one.Spec.VolumeName = "r-"+name, name, "pvc-1"
	one.Spec.HealthyAt, one.Spec.LastHealthyAt = "2026-01-31T04:00:00Z", "2026-01-31T04:00:00Z"
	if change != nil {
		change(&one)
	}
	return one
}

func failed(r *replica)   { r.Spec.FailedAt = "2026-01-31T05:00:00Z" }
func deleted(r *replica)  { r.Metadata.DeletionTimestamp = &metav1.Time{} }
func building(r *replica) { r.Spec.HealthyAt = "" }
func unused(r *replica)   { r.Spec.HealthyAt, r.Spec.LastHealthyAt = "", "" }

func nodes() map[string]*node {
	all := map[string]*node{}
	for name, ready := range map[string]string{"this": "True", "a": "True", "b": "True", "leaving": "True", "down": "False", "unknown": ""} {
		one := &node{}
		one.Spec.AllowScheduling, one.Spec.EvictionRequested = name != "leaving", name == "leaving"
		one.Status.Conditions = []condition{{Type: conditionReady, Status: ready}}
		one.Status.DiskStatus = map[string]diskStatus{"disk": {DiskUUID: "uuid-" + name}, "new": {}}
		all[name] = one
	}
	return all
}

func TestCopiesThatCount(t *testing.T) {
	for name, test := range map[string]struct {
		replicas []replica
		number   int
		unused   bool
	}{
		"none":                        {nil, 0, false},
		"only here":                   {[]replica{on("this", nil)}, 0, false},
		"two":                         {[]replica{on("this", nil), on("a", nil), on("b", nil)}, 2, false},
		"two on one node":             {[]replica{on("a", nil), on("a", nil)}, 1, false},
		"a failed one":                {[]replica{on("a", failed)}, 0, false},
		"one that is deleted":         {[]replica{on("a", deleted)}, 0, false},
		"one that is rebuilt":         {[]replica{on("a", building)}, 0, false},
		"one that is moved away":      {[]replica{on("leaving", nil)}, 0, false},
		"on a node that is down":      {[]replica{on("down", nil), on("unknown", nil)}, 0, false},
		"on a node that is deleted":   {[]replica{on("gone", nil)}, 0, false},
		"not on a node yet":           {[]replica{on("", nil)}, 0, false},
		"never used":                  {[]replica{on("this", unused), on("a", unused)}, 0, true},
		"one of them was used before": {[]replica{on("this", unused), on("down", failed)}, 0, false},
	} {
		if number, unused := copies(test.replicas, usable(nodes(), "this")); number != test.number || unused != test.unused {
			t.Errorf("%s: %d copies, unused %t", name, number, unused)
		}
	}
}

func TestCopiesOfABackingImage(t *testing.T) {
	image := backingImage{}
	image.Status.DiskFileStatusMap = map[string]struct {
		State string `json:"state"`
	}{"uuid-this": {"ready"}, "uuid-a": {"ready"}, "uuid-b": {"in-progress"}, "uuid-leaving": {"ready"}, "uuid-down": {"ready"}, "": {"ready"}}
	if number := imageCopies(image, usable(nodes(), "this")); number != 1 {
		t.Errorf("%d copies, want 1", number)
	}
}

func TestWhatMayStay(t *testing.T) {
	for name, test := range map[string]struct {
		required int
		item     item
		want     bool
	}{
		"nothing without the option":      {0, item{kind: ofReplica, elsewhere: 3}, false},
		"no unused replica without it":    {0, item{kind: ofReplica, unused: true}, false},
		"enough copies":                   {2, item{kind: ofReplica, elsewhere: 2}, true},
		"too few copies":                  {2, item{kind: ofReplica, elsewhere: 1}, false},
		"a volume without data":           {2, item{kind: ofReplica, unused: true}, true},
		"a backing image with one copy":   {2, item{kind: ofBackingImage, elsewhere: 1}, true},
		"a backing image without a copy":  {1, item{kind: ofBackingImage}, false},
		"a backing image that is deleted": {1, item{kind: ofBackingImage, unused: true}, true},
		"a shard":                         {1, item{kind: ofShard, elsewhere: 5}, false},
	} {
		if got := (options{HealthyElsewhere: test.required}).mayStay(test.item); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// No program updates the status of a node that is down: its list may have replicas that an operator has deleted.
func TestOnlyTheStatusOfAReadyNodeCounts(t *testing.T) {
	for ready, want := range map[string]string{"True": "2 replicas, 1 backing image and 1 shard", "False": "1 replica, 1 backing image and 1 shard"} {
		of := &node{}
		of.Status.Conditions = []condition{{Type: conditionReady, Status: ready}}
		of.Status.DiskStatus = map[string]diskStatus{"disk": {ScheduledReplica: map[string]int64{"r-this": 1, "r-2": 1}, ScheduledBackingImage: map[string]int64{"ubuntu": 1}}}
		if got := newHolding(of, []replica{on("this", nil)}, []shard{{}}).String(); got != want {
			t.Errorf("ready %s: it holds %s, want %s", ready, got, want)
		}
	}
}

func TestRoom(t *testing.T) {
	others := usable(nodes(), "this")
	if !room([]replica{on("this", nil), on("a", nil)}, others) || room([]replica{on("this", nil), on("a", nil), on("b", failed)}, others) {
		t.Error("a node has room if it has no replica of the volume")
	}
	others["b"].Spec.AllowScheduling = false
	if room([]replica{on("this", nil), on("a", nil)}, others) {
		t.Error("a node that takes no replicas has no room")
	}
}

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{
		`{"namespace":"a b"}`:              "namespace: is not a valid name",
		`{"namespace":""}`:                 "namespace: is not a valid name",
		`{"healthyElsewhere":-1}`:          "healthyElsewhere: must be from 0 to 20, not -1",
		`{"healthyElsewhere":21}`:          "healthyElsewhere: must be from 0 to 20, not 21",
		`{"healthyElsewhereAfter":"-10m"}`: "healthyElsewhereAfter: must not be negative",
	} {
		_, faults := Descriptor(nil, clocktesting.NewFakeClock(metav1.Now().Time)).Bind([]byte(options))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
	bound, faults := Descriptor(nil, nil).Bind([]byte(`{"namespace":"storage"}`))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if rules := bound.(cleanup.NamespaceRuleRequirer).NamespaceRules(); len(rules) != 1 || len(rules["storage"]) == 0 {
		t.Errorf("the rules are %v", rules)
	}
}
