package api

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestProtected(t *testing.T) {
	for value, want := range map[string]struct{ protected, fault bool }{
		"true": {true, false}, "1": {true, false}, "false": {false, false}, "": {true, true}, "yes, please": {true, true},
	} {
		protected, err := Protected(&metav1.ObjectMeta{Annotations: map[string]string{AnnotationProtect: value}})
		if protected != want.protected || (err != nil) != want.fault {
			t.Errorf("%q protects: %v, %v", value, protected, err)
		}
	}
	if protected, err := Protected(&metav1.ObjectMeta{}); protected || err != nil {
		t.Errorf("without the annotation: %v, %v", protected, err)
	}
}

func TestBreakGlassOf(t *testing.T) {
	now := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		reason, until string
		active        bool
		problem       string
	}{
		"none":       {"", "", false, ""},
		"active":     {"rack burns", "2026-01-31T04:00:01Z", true, ""},
		"other zone": {"rack burns", "2026-01-31T05:30:00+01:00", true, ""},
		"expired":    {"rack burns", "2026-01-31T04:00:00Z", false, "expired at 2026-01-31T04:00:00Z"},
		"no end":     {"rack burns", "", false, "says when it ends"},
		"no reason":  {" ", "2026-01-31T05:00:00Z", false, "gives no reason"},
		"only end":   {"", "2026-01-31T05:00:00Z", false, "gives no reason"},
		"no time":    {"rack burns", "tomorrow", false, "not an RFC 3339 time"},
	} {
		t.Run(name, func(t *testing.T) {
			annotations := map[string]string{}
			if test.reason != "" {
				annotations[AnnotationBreakGlass] = test.reason
			}
			if test.until != "" {
				annotations[AnnotationBreakGlassUntil] = test.until
			}
			glass, err := BreakGlassOf(&metav1.ObjectMeta{Annotations: annotations}, now)
			if glass.Active != test.active || glass.Active && glass.Reason != test.reason {
				t.Errorf("it is %+v", glass)
			}
			if (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Errorf("error is %v, want %q", err, test.problem)
			}
		})
	}
}

func TestExplainsComparesTheDeletionTime(t *testing.T) {
	deleted := metav1.NewTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	for name, test := range map[string]struct {
		deleted *metav1.Time
		age     time.Duration
		want    bool
	}{
		"just now":                       {&deleted, time.Second, true},
		"a clock that is ahead":          {&deleted, -40 * time.Second, true},
		"a deletion that did not happen": {&deleted, 2 * time.Minute, false},
		"a node that does not terminate": {nil, 0, false},
		"no time":                        {&deleted, time.Duration(deleted.UnixNano()), false},
	} {
		if got := (Deletion{User: "jane", At: metav1.NewMicroTime(deleted.Add(-test.age))}).Explains(&metav1.ObjectMeta{DeletionTimestamp: test.deleted}); got != test.want {
			t.Errorf("%s: it is %v", name, got)
		}
	}
}

func TestUnverifiedNameIsMarked(t *testing.T) {
	for want, run := range map[string]Run{
		"":                  {},
		"jane (unverified)": {RequestedBy: "jane"},
		"jane":              {RequestedBy: "jane", RequestedByVerified: true},
		"rita":              {RequestedBy: "rita", RequestedByVerified: true, CleanupRequestedAt: "q"},
		"ed (unverified)":   {RequestedBy: "ed", CleanupRequestedAt: "q"},
	} {
		if got := run.Requester(); got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	}
	if got := (Deletion{User: "jane"}).String(); got != "jane (unverified)" {
		t.Errorf("it is %q", got)
	}
}
