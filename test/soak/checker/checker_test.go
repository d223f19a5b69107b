package checker

import (
	"fmt"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// story is a history that a test writes: each event has the next revision, and is a second later.
type story struct {
	*Checker
	revision int64
	accepted map[string]bool
}

func tell() *story {
	s := &story{accepted: map[string]bool{"uid/inventory": true}}
	s.Checker = New(Options{
		Namespace: "nodecleanup-system", Steps: []string{"drain", "inventory"}, Calls: []string{"inventory"},
		Called: func(key string) bool { return s.accepted[key] }, Window: 3 * time.Second,
	})
	return s
}

func (s *story) put(object any)     { s.event(object, false) }
func (s *story) deleted(object any) { s.event(object, true) }
func (s *story) wait(seconds int64) { s.revision += seconds }
func (s *story) event(object any, deleted bool) {
	s.revision++
	s.Apply(Event{s.revision, noon.Add(time.Duration(s.revision) * time.Second), object, deleted})
}

// cleaned is the Node once it terminates, is cordoned, and waits to be released.
func cleaned(change ...func(*corev1.Node)) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid", Finalizers: []string{finalizer}, DeletionTimestamp: ptr.To(metav1.NewTime(noon))},
		Spec:       corev1.NodeSpec{Unschedulable: true},
	}
	for _, c := range change {
		c(node)
	}
	return node
}

func pod(node string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", UID: "pod", OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Controller: ptr.To(true)}}},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, c := range change {
		c(pod)
	}
	return pod
}

const done = `{"node":"n1","nodeUID":"uid","state":"Succeeded","deletionRequestedAt":"2026-01-31T12:00:00Z","finishedAt":"2026-01-31T12:01:00Z","steps":[` +
	`{"name":"drain","critical":true,"state":"Succeeded","finishedAt":"2026-01-31T12:01:00Z"},{"name":"inventory","critical":true,"state":"Succeeded","finishedAt":"2026-01-31T12:01:00Z"}]}`

// recorded is a run record.
func recorded(json string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "nodecleanup-system", Name: "run-n1-uid", Labels: map[string]string{"nodecleanup.io/node-uid": "uid"}},
		Data:       map[string]string{"run.json": json},
	}
}

func attachment(node string) *storagev1.VolumeAttachment {
	return &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "csi-1", UID: "attachment"}, Spec: storagev1.VolumeAttachmentSpec{NodeName: node}}
}

// replaced is the record of a cleanup that is done, with one text for another.
func replaced(old, new string) func(*story) {
	return func(s *story) { s.put(recorded(strings.Replace(done, old, new, 1))) }
}

func TestReleases(t *testing.T) {
	record := func(s *story) { s.put(recorded(done)) }
	releases := func(s *story) { s.deleted(cleaned()) }
	bypass := func(node *corev1.Node) { node.Annotations = map[string]string{bypassAnnotation: "true"} }
	for name, test := range map[string]struct {
		// events come after the Node terminates.
		events []func(*story)
		// violation and race are part of the findings; empty for none.
		violation, race string
	}{
		"clean": {events: []func(*story){record, releases}},
		"clean, and another finalizer is removed later": {events: []func(*story){record,
			func(s *story) { s.put(cleaned(func(n *corev1.Node) { n.Finalizers = []string{"example.com/other"} })) },
			func(s *story) { s.deleted(cleaned()) },
		}},
		"a pod was deleted before": {events: []func(*story){
			func(s *story) { s.put(pod("n1")) }, func(s *story) { s.deleted(pod("n1")) }, record, releases}},
		"a pod on another node":             {events: []func(*story){func(s *story) { s.put(pod("n2")); s.wait(60) }, record, releases}},
		"a pod is on it":                    {events: []func(*story){func(s *story) { s.put(pod("n1")); s.wait(60) }, record, releases}, violation: "pod shop/cart is on it (Running), bound by its creator"},
		"a pod was scheduled":               {events: []func(*story){func(s *story) { s.put(pod("")); s.put(pod("n1")); s.wait(60) }, record, releases}, violation: "bound by the scheduler"},
		"a pod is bound later":              {events: []func(*story){record, func(s *story) { s.put(pod("n1")); s.wait(60) }, releases}, race: "pod shop/cart"},
		"a pod is bound at the last moment": {events: []func(*story){func(s *story) { s.put(pod("n1")) }, record, releases}, race: "pod shop/cart"},
		"an old pod changes later": {events: []func(*story){func(s *story) { s.put(pod("n1")); s.wait(60) }, record, func(s *story) { s.put(pod("n1")) }, releases},
			violation: "pod shop/cart"},
		"a volume is attached":  {events: []func(*story){func(s *story) { s.put(attachment("n1")); s.wait(60) }, record, releases}, violation: "volumeattachment csi-1 still exists"},
		"a volume is elsewhere": {events: []func(*story){func(s *story) { s.put(attachment("n2")); s.wait(60) }, record, releases}},
		"a volume was detached": {events: []func(*story){func(s *story) { s.put(attachment("n1")) }, func(s *story) { s.deleted(attachment("n1")) }, record, releases}},
		"schedulable": {events: []func(*story){func(s *story) { s.put(cleaned(func(n *corev1.Node) { n.Spec.Unschedulable = false })); s.wait(60) }, record, releases},
			violation: "the node is schedulable"},
		"uncordoned later":       {events: []func(*story){record, func(s *story) { s.put(cleaned(func(n *corev1.Node) { n.Spec.Unschedulable = false })) }, releases}, race: "the node is schedulable"},
		"no record":              {events: []func(*story){releases}, violation: "there is no run record"},
		"the record was deleted": {events: []func(*story){record, func(s *story) { s.deleted(recorded(done)); s.wait(60) }, releases}, violation: "there is no run record"},
		"the record is deleted":  {events: []func(*story){record, func(s *story) { s.deleted(recorded(done)) }, releases}, race: "the run record was deleted just before"},
		"a step runs":            {events: []func(*story){replaced(`critical":true,"state":"Succeeded"`, `critical":true,"state":"Running"`), releases}, violation: "critical step drain is not done"},
		"a step is missing":      {events: []func(*story){replaced(`"name":"drain"`, `"name":"other"`), releases}, violation: "critical step drain is not done"},
		"a step is optional":     {events: []func(*story){replaced(`"critical":true`, `"critical":false`), releases}, violation: "critical step drain is not done"},
		"the run continues":      {events: []func(*story){replaced(`"state":"Succeeded"`, `"state":"Running"`), releases}, violation: "not that of a cleanup that is done"},
		"a dry run":              {events: []func(*story){replaced(`{`, `{"dryRun":true,`), releases}, violation: "not that of a cleanup that is done"},
		"of another deletion":    {events: []func(*story){replaced(`T12:00:00Z`, `T11:00:00Z`), releases}, violation: "another deletion"},
		"not a record":           {events: []func(*story){func(s *story) { s.put(recorded("{")) }, record, releases}, violation: "cannot be read"},
		"not called":             {events: []func(*story){func(s *story) { s.accepted = nil }, record, releases}, violation: "never accepted a call with the idempotency key uid/inventory"},
		"bypassed":               {events: []func(*story){func(s *story) { s.put(cleaned(bypass)); s.put(pod("n1")) }, replaced(`"Succeeded"`, `"Bypassed"`), releases}},
		"bypassed, no record":    {events: []func(*story){func(s *story) { s.put(cleaned(bypass)) }, releases}, violation: "the record is missing"},
		"said to be bypassed":    {events: []func(*story){replaced(`"Succeeded"`, `"Bypassed"`), releases}, violation: "not that of a cleanup that is done"},
		"bypassed at the end":    {events: []func(*story){record, func(s *story) { s.put(cleaned(bypass)) }, releases}},
		"bypass mark, but the record claims a cleanup": {events: []func(*story){func(s *story) { s.put(cleaned(bypass)); s.put(pod("n1")); s.wait(60) }, record, releases}, violation: "pod shop/cart"},
		"declared":           {events: []func(*story){func(s *story) { s.Declare("uid", "by hand") }, releases}},
		"declared, not done": {events: []func(*story){func(s *story) { s.Declare("uid", "by hand"); s.Undeclare("uid") }, releases}, violation: "there is no run record"},
		"never protected": {events: []func(*story){func(s *story) {
			s.put(cleaned(func(n *corev1.Node) { n.UID, n.Finalizers, n.DeletionTimestamp = "new", nil, nil }))
		}, releases}, violation: "without the finalizer"},
		"a live one loses it": {events: []func(*story){func(s *story) {
			s.put(cleaned(func(n *corev1.Node) { n.DeletionTimestamp = nil }))
			s.put(cleaned(func(n *corev1.Node) { n.DeletionTimestamp, n.Finalizers = nil, nil }))
		}}},
		"bypass had ended": {events: []func(*story){func(s *story) {
			s.put(cleaned(bypass, func(n *corev1.Node) { n.Annotations[bypassUntil] = "2026-01-31T12:00:01Z" }))
		}, releases}, violation: "there is no run record"},
		"bypass has not ended": {events: []func(*story){func(s *story) {
			s.put(cleaned(bypass, func(n *corev1.Node) { n.Annotations[bypassUntil] = "2026-01-31T13:00:00Z" }))
		}, replaced(`"Succeeded"`, `"Bypassed"`), releases}},
		"released, not deleted": {events: []func(*story){func(s *story) { s.put(pod("n1")); s.wait(60) }, record, func(s *story) { s.put(cleaned(func(n *corev1.Node) { n.Finalizers = []string{"example.com/other"} })) }}, violation: "pod shop/cart"},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell()
			s.put(cleaned())
			for _, event := range test.events {
				event(s)
			}
			report := s.Report()
			holds := func(what string, found []Finding, want string) {
				text := fmt.Sprint(found)
				if (len(found) > 0) != (want != "") || !strings.Contains(text, want) {
					t.Errorf("%s: %s, want %q", what, text, want)
				}
			}
			holds("violations", report.Violations, test.violation)
			holds("races", report.Races, test.race)
		})
	}
}

func TestPodsEvictedByADrain(t *testing.T) {
	silent := cleaned(func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
	})
	terminating := func(after time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.NewTime(noon.Add(after))) }
	}
	ownedBy := func(kind string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.OwnerReferences[0].Kind = kind }
	}
	phase := func(phase corev1.PodPhase) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Status.Phase = phase }
	}
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		node   *corev1.Node
		want   bool
	}{
		"running":                     {change: func(*corev1.Pod) {}, want: true},
		"pending":                     {change: phase(corev1.PodPending), want: true},
		"succeeded":                   {change: phase(corev1.PodSucceeded)},
		"failed":                      {change: phase(corev1.PodFailed)},
		"unmanaged":                   {change: func(p *corev1.Pod) { p.OwnerReferences = nil }, want: true},
		"of a StatefulSet":            {change: ownedBy("StatefulSet"), want: true},
		"of a DaemonSet":              {change: ownedBy("DaemonSet")},
		"a DaemonSet merely owns it":  {change: func(p *corev1.Pod) { p.OwnerReferences[0] = metav1.OwnerReference{Kind: "DaemonSet"} }, want: true},
		"static":                      {change: func(p *corev1.Pod) { p.Annotations = map[string]string{"kubernetes.io/config.mirror": ""} }},
		"terminating":                 {change: terminating(-time.Hour), want: true},
		"terminating, silent kubelet": {change: terminating(-time.Hour), node: silent},
		"within its grace period":     {change: terminating(time.Hour), node: silent, want: true},
		"running, silent kubelet":     {change: func(*corev1.Pod) {}, node: silent, want: true},
	} {
		node := test.node
		if node == nil {
			node = cleaned()
		}
		if got := drainable(pod("n1", test.change), node, noon); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestOpenRecords(t *testing.T) {
	for state, open := range map[string]bool{`"state":"Running"`: true, `"state":"Failed","finishedAt":"2026-01-31T12:01:00Z"`: false, `"state":"Succeeded"`: true} {
		s := tell()
		s.put(cleaned())
		s.put(recorded(`{"nodeUID":"uid",` + state + `}`))
		if got := s.Open(); len(got) > 0 {
			t.Errorf("the node is there, and open is %q", got)
		}
		s.deleted(cleaned())
		if got := s.Open(); (len(got) > 0) != open {
			t.Errorf("%s: open is %q", state, got)
		}
	}
}

// A checker that used the agent's code would have the agent's faults.
func TestNothingIsSharedWithTheAgent(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range parsed.Imports {
			if strings.Contains(imported.Path.Value, "nodecleanup/") {
				t.Errorf("%s imports %s", file, imported.Path.Value)
			}
		}
	}
}
