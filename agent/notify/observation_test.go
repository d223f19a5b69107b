package notify

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

var zero = time.Date(2026, 12, 1, 2, 0, 0, 0, time.UTC)

// after returns a time after zero.
func after(d time.Duration) *metav1.Time { return &metav1.Time{Time: zero.Add(d)} }

// What is reported about a Node follows from its run record alone.
func TestKindsOfRun(t *testing.T) {
	evicting := func(since *metav1.Time) []api.StepRun {
		return []api.StepRun{{Name: "drain", State: api.StepRunning, Counts: &api.Counts{Done: 1, Total: 2, Blocked: "shop/cart-0", BlockedSince: since}}}
	}
	for name, test := range map[string]struct {
		run   api.Run
		kinds kinds
		// later are the kinds when BlockedAfter has passed.
		later   kinds
		ended   bool
		message string
	}{
		"waits for a slot":   {run: api.Run{State: api.Pending}},
		"runs":               {run: api.Run{State: api.Running, PlanHash: "p", Message: "running"}, kinds: started, later: started},
		"waits for a retry":  {run: api.Run{State: api.Waiting, PlanHash: "p", Message: "m"}, kinds: started, later: started},
		"preflight fails":    {run: api.Run{State: api.Blocked, PlanHash: "p", StartedAt: *after(0), Message: "unhealthy"}, kinds: started, later: started | blocked, message: "unhealthy"},
		"a budget blocks":    {run: api.Run{State: api.Running, PlanHash: "p", Steps: evicting(after(0)), Message: "running step drain"}, kinds: started, later: started | blocked, message: "running step drain"},
		"nothing blocks yet": {run: api.Run{State: api.Running, PlanHash: "p", Steps: evicting(nil)}, kinds: started, later: started},
		"fails":              {run: api.Run{State: api.Failed, PlanHash: "p", Message: "storage is full"}, kinds: started | failed, later: started | failed, message: "storage is full"},
		"is late":            {run: api.Run{State: api.Running, PlanHash: "p", DeadlinePassed: true, Message: "running"}, kinds: started | late, later: started | late, message: "running"},
		"succeeds":           {run: api.Run{State: api.Succeeded, PlanHash: "p", FinishedAt: after(0)}, kinds: started | succeeded, later: started | succeeded, ended: true},
		"the host came back": {run: api.Run{State: api.Succeeded, PlanHash: "p", FinishedAt: after(0), HostDifference: "boot ID"}, kinds: started | blocked, later: started | blocked, message: "the host rebooted or was replaced during the cleanup (boot ID)"},
		"is bypassed":        {run: api.Run{State: api.Bypassed, FinishedAt: after(0), Message: "bypassed by ann: gone"}, kinds: bypassed, later: bypassed, ended: true, message: "bypassed by ann: gone"},
		"is canceled":        {run: api.Run{State: api.Canceled, PlanHash: "p", FinishedAt: after(0)}, kinds: started, later: started, ended: true},
		"loses its Node":     {run: api.Run{State: api.Failed, PlanHash: "p", FinishedAt: after(0), Message: "removed"}, kinds: started | unprotected, later: started | unprotected, ended: true, message: "removed"},
	} {
		t.Run(name, func(t *testing.T) {
			test.run.RequestedBy, test.run.RequestedByVerified = "ann", true
			o := ofRun(&test.run)
			if o.at(zero) != test.kinds || o.at(zero.Add(BlockedAfter)) != test.later || o.ended != test.ended || o.message != test.message || o.deletedBy != "ann" {
				t.Errorf("observed %+v: now %b, later %b", o, o.at(zero), o.at(zero.Add(BlockedAfter)))
			}
		})
	}
}

func TestKindsAsText(t *testing.T) {
	text, err := (failed | started).MarshalText()
	if string(text) != "Failed,Started" || err != nil {
		t.Errorf("the text is %q, %v", text, err)
	}
	var read kinds
	if err := read.UnmarshalText([]byte("Started,OfALaterVersion,Failed")); err != nil || read != failed|started {
		t.Errorf("read %b, %v", read, err)
	}
	for _, kind := range cleanup.NotificationKinds() {
		if set := setOf(kind); (set&alerting != 0) != kind.NeedsAttention() || set == 0 {
			t.Errorf("%s is %b", kind, set)
		}
	}
}

func TestMessagesAreShort(t *testing.T) {
	long := shorten(strings.Repeat("ä\n", cleanup.MaxNotificationMessage))
	if len(long) > cleanup.MaxNotificationMessage || !strings.HasSuffix(long, "…") || strings.Contains(long, "\n") || strings.ContainsRune(long, '\uFFFD') {
		t.Errorf("%d bytes: %q", len(long), long)
	}
}
