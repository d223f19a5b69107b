package checker

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// The events of etcd's watch about one Node of a soak test, from its creation to its release.
// Without some of them, it is the history of a cluster whose agent releases too early.
func TestRecordedStream(t *testing.T) {
	for name, test := range map[string]struct {
		without func(Event) bool
		want    string
	}{
		"as it was": {without: func(Event) bool { return false }},
		"without the ends of Pods": {func(event Event) bool {
			_, is := event.Object.(*corev1.Pod)
			return is && event.Deleted
		}, "is on it (Running"},
		"without the end of the attachment": {func(event Event) bool {
			_, is := event.Object.(*storagev1.VolumeAttachment)
			return is && event.Deleted
		}, "volumeattachment csi-"},
		"without the end of the record": {func(event Event) bool {
			stored, is := event.Object.(*corev1.ConfigMap)
			var run record
			return is && json.Unmarshal([]byte(stored.Data["run.json"]), &run) == nil && run.State == "Succeeded"
		}, "not that of a cleanup that is done"},
		"without any record": {func(event Event) bool {
			_, is := event.Object.(*corev1.ConfigMap)
			return is
		}, "there is no run record"},
		"without the cordon": {func(event Event) bool {
			node, is := event.Object.(*corev1.Node)
			return is && node.Spec.Unschedulable && !event.Deleted
		}, "the node is schedulable"},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(Options{
				Namespace: "nodecleanup-system", Steps: []string{"drain", "volumes", "inventory", "log"}, Calls: []string{"inventory"},
				Called: func(string) bool { return true }, Window: 1500 * time.Millisecond,
			})
			clock, events := noon, 0
			err := read(stream(t), func() time.Time { clock = clock.Add(time.Minute); return clock }, func(event Event) {
				events++
				if !test.without(event) {
					c.Apply(event)
				}
			})
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			report := c.Report()
			if events < 20 || report.Released+report.Bypassed+report.Overridden > 1 || len(report.Races) > 0 || len(c.Nodes()) > 0 {
				t.Errorf("%d events, the report is %+v", events, report)
			}
			text := ""
			for _, violation := range report.Violations {
				text += violation.String() + "\n"
			}
			if (text != "") != (test.want != "") || !strings.Contains(text, test.want) {
				t.Errorf("violations: %s, want %q", text, test.want)
			}
		})
	}
}

func stream(t *testing.T) io.Reader {
	t.Helper()
	zipped, err := os.ReadFile("testdata/release.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	return reader
}
