package api

import (
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

func TestStoredRunIsDecodedUnchanged(t *testing.T) {
	now := metav1.NewTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	next := metav1.NewMicroTime(now.Add(1500 * time.Microsecond))
	run := &Run{
		Node: "worker", NodeUID: "0123456789", ConfigHash: "c", PlanHash: "p", DryRun: true, State: Waiting, Message: "m",
		DeadlinePassed: true, CheckAgainAt: &next, BypassReason: "b", BypassedBy: "alice", BypassedByVerified: true, RetryRequestedBy: "bob", RetryRequestedByVerified: true, DeletionRequestedAt: &now, StartedAt: now, FinishedAt: &now, RetryRequestedAt: "r",
		CleanupRequestedAt: "q", RequestedBy: "jane", RequestedByVerified: true, BreakGlassReason: "g", Host: &Host{BootID: "1", MachineID: "2", SystemUUID: "3"},
		Steps: []StepRun{{
			Name: "drain", Plugin: "drain", Critical: true, State: StepRetrying, Attempts: 3, Failures: 2, Progress: "2 pods", Reason: "x",
			LastError: "e", Preview: []string{"evict"}, Effects: []Effect{{Action: ActionEvict, Object: Object{Kind: KindPod, Namespace: "shop", Name: "cart-0"}, Blocked: &Blocker{Cause: BlockedByOption, Message: "m", Option: "o"}, Unchecked: "u"}}, StartedAt: &now, FinishedAt: &now, NextAttemptAt: &next,
		}},
	}
	stored, err := EncodeRun("ns", run)
	if err != nil {
		t.Fatal(err)
	}
	if stored.Name != "run-worker-01234567" || stored.Labels[LabelNodeUID] != "0123456789" {
		t.Errorf("stored as %s with labels %v", stored.Name, stored.Labels)
	}
	read, err := DecodeRun(stored)
	if err != nil {
		t.Fatal(err)
	}
	if !read.CheckAgainAt.Equal(&next) {
		t.Errorf("looks again at %s, stored as %s", read.CheckAgainAt, next)
	}
	read.CheckAgainAt = &next
	read.StartedAt, read.DeletionRequestedAt, read.FinishedAt = now, &now, &now // The same, in local time.
	if !read.Steps[0].NextAttemptAt.Equal(&next) {
		t.Errorf("the next attempt is at %s, stored as %s", read.Steps[0].NextAttemptAt, next)
	}
	read.Steps[0].StartedAt, read.Steps[0].FinishedAt, read.Steps[0].NextAttemptAt = &now, &now, &next
	if !reflect.DeepEqual(read, run) {
		t.Errorf("read %+v, stored %+v", read, run)
	}
}

func TestInvalidRecordIsAnError(t *testing.T) {
	at := metav1.NewMicroTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	stored, err := EncodeRun("ns", &Run{Node: "worker", NodeUID: "u", State: Waiting, Steps: []StepRun{{Name: "drain", State: StepRetrying, NextAttemptAt: &at}}})
	if err != nil {
		t.Fatal(err)
	}
	good := stored.Data[RunKey]
	if _, err := DecodeRun(stored); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"no node":      strings.Replace(good, `"node"`, `"edon"`, 1),
		"version":      strings.Replace(good, RunVersion, "nodecleanup.io/v9", 1),
		"no JSON":      "{",
		"state":        strings.Replace(good, `"Waiting"`, `"Watching"`, 1),
		"step's state": strings.Replace(good, `"Retrying"`, `"Trying"`, 1),
		"no time":      strings.Replace(good, `"nextAttemptAt":"2026-01-31T04:00:00.000000Z"`, `"reason":""`, 1),
	} {
		if data == good {
			t.Fatalf("%s: nothing was changed in %s", name, good)
		}
		stored.Data[RunKey] = data
		if run, err := DecodeRun(stored); err == nil {
			t.Errorf("%s: read as %+v", name, run)
		}
	}
	delete(stored.Data, RunKey)
	if _, err := DecodeRun(stored); err == nil {
		t.Error("a record without its key was read")
	}
}

// A newer version may add fields. This version ignores them, and writes them back: else the
// newer one would miss them after a rollback and another upgrade.
func TestDecodeRunPreservesFieldsOfANewerVersion(t *testing.T) {
	const newer = `{"version":"nodecleanup.io/v1alpha1","node":"worker","nodeUID":"u","configHash":"c","planHash":"p","state":"Running",` +
		`"startedAt":"2026-01-31T04:00:00Z","notifiedTo":["a","b"],"steps":[{"name":"drain","plugin":"drain","critical":true,"state":"Running","outputs":{"ticket":"7"}}]}`
	run, err := DecodeRun(&corev1.ConfigMap{Data: map[string]string{RunKey: newer}})
	if err != nil {
		t.Fatal(err)
	}
	run.Steps[0].State, run.Message = StepSucceeded, "done"
	stored, err := EncodeRun("ns", run)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"notifiedTo":["a","b"]`, `"outputs":{"ticket":"7"}`, `"state":"Succeeded"`, `"message":"done"`} {
		if !strings.Contains(stored.Data[RunKey], want) {
			t.Errorf("the record %s lacks %s", stored.Data[RunKey], want)
		}
	}
	again, err := DecodeRun(stored)
	if err != nil || !reflect.DeepEqual(again, run) {
		t.Errorf("decoded again as %+v, %v; want %+v", again, err, run)
	}
}

func TestRunNameIsAlwaysAnObjectName(t *testing.T) {
	for _, node := range []string{"a", strings.Repeat("a", 253), strings.Repeat("a", 238) + "." + strings.Repeat("b", 14), strings.Repeat("a.", 126) + "a"} {
		name := RunName(node, "01234567-89ab")
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			t.Errorf("%q: %v", name, problems)
		}
	}
}
