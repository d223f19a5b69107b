package command

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestUndecodableNamesRecordCauseAndNextStep(t *testing.T) {
	broken := &api.RecordError{Record: "run-worker-u", Err: errors.New("unexpected end of JSON input")}
	another := &api.RecordError{Record: "run-worker-u", Err: &api.VersionError{Version: "nodecleanup.io/v1beta1"}}
	node := func(state api.State) *corev1.Node {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker"}}
		if state != "" {
			node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(state, "m", metav1.Now())}
		}
		return node
	}
	const (
		which  = "cannot decode run record run-worker-u: "
		short  = which + "unexpected end of JSON input"
		newer  = which + `version "nodecleanup.io/v1beta1" is not nodecleanup.io/v1alpha1`
		advice = `. If a newer version wrote the record, upgrade the agent and the CLI. Otherwise run every step again: kubectl nodecleanup retry worker; or bypass the cleanup: kubectl nodecleanup bypass worker --reason "…"`
	)
	for name, test := range map[string]struct {
		got    Undecodable
		want   string
		paused bool
	}{
		"broken":                      {UndecodableOf(node(""), broken, false), short + ". The cleanup is paused" + advice, true},
		"broken, and not yet noticed": {UndecodableOf(node(api.Running), broken, false), short + ". A running step continues, and no other step begins" + advice, true},
		"broken, and no agent leads":  {UndecodableOf(node(api.Running), broken, true), short + ". The cleanup is paused" + advice, true},
		"another version, continued":  {UndecodableOf(node(api.Running), another, false), newer + ". Another version wrote the record: upgrade the CLI", false},
		"another version, new":        {UndecodableOf(node(""), another, false), newer + ". Another version wrote the record: upgrade the CLI", false},
		"another version, blocked":    {UndecodableOf(node(api.Blocked), another, false), newer + ". The cleanup is paused" + advice, true},
		"past":                        {UndecodablePast("worker", broken), short + ". If node worker still exists, no other step of its cleanup begins" + advice, false},
		"deleted":                     {UndecodableOfDeletedNode(another), newer + ". If a newer version wrote the record, upgrade the CLI", false},
		"an error of another kind":    {UndecodableOfDeletedNode(errors.New("odd")), "cannot decode the run record: odd. If a newer version wrote the record, upgrade the CLI", false},
	} {
		if got := test.got.String(); got != test.want || test.got.Paused != test.paused {
			t.Errorf("%s: %q, paused %v; want %q", name, got, test.got.Paused, test.want)
		}
		if strings.Contains(test.got.Next, "delete") {
			t.Errorf("%s: the advice is to delete something: %s", name, test.got.Next)
		}
	}
}

func TestNodesOfUndecodableRecordsAreCompleted(t *testing.T) {
	record := func(node, uid, data string) corev1.ConfigMap {
		return corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: "run-" + node + "-" + uid, Labels: map[string]string{api.LabelNodeUID: uid}}, Data: map[string]string{api.RunKey: data},
		}
	}
	good := func(node, uid, state string) corev1.ConfigMap {
		return record(node, uid, `{"version":"`+api.RunVersion+`","node":"`+node+`","nodeUID":"`+uid+`","state":"`+state+`"}`)
	}
	got := completeRuns([]corev1.ConfigMap{
		good("newer", "n", "Verifying"), record("broken", "b", "{"), good("twice", "t", "Succeeded"), record("twice", "u", "{"), good("good", "g", "Failed"), good("good", "h", "Succeeded"), record("", "", "{"),
	})
	const why = "\tcannot decode run record run-"
	want := []string{"broken" + why + "broken-b: unexpected end of JSON input", "good", "newer", "twice" + why + "twice-u: unexpected end of JSON input"}
	if !slices.Equal(got, want) {
		t.Errorf("completed to %q, want %q", got, want)
	}
}
