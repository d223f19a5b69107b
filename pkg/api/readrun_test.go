package api

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// newerRun is a record of a version to come: fields, states and a plugin that this one does not know.
const newerRun = `{"version":"nodecleanup.io/v1alpha1","node":"worker","nodeUID":"u","configHash":"c","planHash":"p","state":"Verifying","verifiedBy":"probe",` +
	`"startedAt":"2026-01-31T04:00:00Z","steps":[{"name":"drain","plugin":"drain","critical":true,"state":"Succeeded"},` +
	`{"name":"bmc","plugin":"redfish","critical":true,"state":"PoweringOff","outputs":{"ticket":"7"}}]}`

func recordOf(data string) *corev1.ConfigMap {
	configMap := &corev1.ConfigMap{Data: map[string]string{RunKey: data}}
	configMap.Name = "run-worker-u"
	return configMap
}

func TestStatesOfANewerVersionAreDecoded(t *testing.T) {
	run, err := ReadRun(recordOf(newerRun))
	if err != nil {
		t.Fatal(err)
	}
	if run.State != "Verifying" || run.Steps[1].State != "PoweringOff" || run.Steps[1].Plugin != "redfish" {
		t.Errorf("read as %+v", run)
	}
	if got, want := run.UnknownStates(), []string{"state Verifying", "state PoweringOff of step bmc"}; !slices.Equal(got, want) {
		t.Errorf("unknown are %q, want %q", got, want)
	}
	decided, err := DecodeRun(recordOf(newerRun))
	if err == nil || !strings.Contains(err.Error(), "decoding run record run-worker-u: this version does not know state Verifying, state PoweringOff of step bmc") {
		t.Errorf("decoded as %+v, %v", decided, err)
	}
	known, err := DecodeRun(recordOf(strings.NewReplacer("Verifying", "Running", "PoweringOff", "Running").Replace(newerRun)))
	if err != nil || len(known.UnknownStates()) > 0 {
		t.Errorf("with states that are known: %q, %v", known.UnknownStates(), err)
	}
}

func TestRecordOfAnotherVersionIsReported(t *testing.T) {
	for name, test := range map[string]struct {
		data string
		want string
	}{
		"another version":              {`{"version":"nodecleanup.io/v1beta1"}`, "nodecleanup.io/v1beta1"},
		"another version, other types": {`{"version":"nodecleanup.io/v1beta1","steps":{"drain":{}}}`, "nodecleanup.io/v1beta1"},
		"missing version":              {`{}`, ""},
		"other types":                  {strings.Replace(newerRun, `"worker"`, `["worker"]`, 1), ""},
		"empty state":                  {strings.Replace(newerRun, `"Verifying"`, `""`, 1), ""},
		"empty step state":             {strings.Replace(newerRun, `"PoweringOff"`, `""`, 1), ""},
	} {
		run, err := ReadRun(recordOf(test.data))
		var record *RecordError
		if !errors.As(err, &record) || record.Record != "run-worker-u" {
			t.Errorf("%s: read as %+v, %v", name, run, err)
		}
		var version *VersionError
		if errors.As(err, &version); (version != nil) != (test.want != "") || version != nil && version.Version != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecordOfAnotherNodeIsAnError(t *testing.T) {
	if run, err := ReadRunOf(recordOf(newerRun), "u"); err != nil {
		t.Errorf("%+v, %v", run, err)
	}
	if run, err := ReadRunOf(recordOf(newerRun), "v"); err == nil || run != nil || !strings.Contains(err.Error(), "node UID u, not v") {
		t.Errorf("%+v, %v", run, err)
	}
}

func TestUndecodableRecordBelongsToTheNodeOfItsName(t *testing.T) {
	const uid = "0f0f0f0f-0000-4000-8000-000000000000"
	for name, test := range map[string]struct{ record, uid, want string }{
		"named":           {RunName("ip-10-0-7.eu-west-1", uid), uid, "ip-10-0-7.eu-west-1"},
		"cut":             {RunName(strings.Repeat("a", 253), uid), uid, strings.Repeat("a", 240)},
		"a short UID":     {RunName("worker", "u-1"), "u-1", "worker"},
		"of another node": {RunName("worker", "1f0f0f0f"), uid, ""},
		"without a label": {RunName("worker", uid), "", ""},
		"no record":       {"worker-0f0f0f0f", uid, ""},
	} {
		record := recordOf("{")
		record.Name, record.Labels = test.record, map[string]string{LabelNodeUID: test.uid}
		if got := RunNode(record); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
