package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// The records in testdata/older were written by the agent of commit a72c662: before effects, and
// before RequestedByVerified.
func TestRecordsOfAnOlderAgentAreDecodedAndKept(t *testing.T) {
	files, err := filepath.Glob("testdata/older/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d records, %v", len(files), err)
	}
	states := map[State]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		run, err := DecodeRun(&corev1.ConfigMap{Data: map[string]string{RunKey: string(data)}})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		states[run.State] = true
		if run.Node+".json" != filepath.Base(file) || run.RequestedByVerified || len(run.Steps) == 0 {
			t.Errorf("%s is decoded as %+v", file, run)
		}
		stored, err := EncodeRun("ns", run)
		if err != nil {
			t.Fatal(err)
		}
		var before, after map[string]any
		for text, into := range map[string]*map[string]any{string(data): &before, stored.Data[RunKey]: &after} {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%s is stored as %s", file, stored.Data[RunKey])
		}
		if step := run.Step("drain"); step != nil && strings.Join(step.Would(), ", ") != "cordon, evict default/cart" {
			t.Errorf("%s: the step would %q", file, step.Would())
		}
	}
	for _, state := range []State{Running, Waiting, Failed, Bypassed, Succeeded} {
		if !states[state] {
			t.Errorf("no record in state %s was tested", state)
		}
	}
}
