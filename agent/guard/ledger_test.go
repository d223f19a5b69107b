package guard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func emptyLedger() *ledger {
	return decodeLedger(&corev1.ConfigMap{}, night, func(string, error) {})
}

// again is the ledger as another replica reads it at a time.
func again(t *testing.T, l *ledger, at time.Time) *ledger {
	t.Helper()
	data, err := l.encode()
	if err != nil {
		t.Fatal(err)
	}
	return decodeLedger(&corev1.ConfigMap{Data: data}, at, func(key string, err error) { t.Errorf("%s: %v", key, err) })
}

func deletionBy(user string, verified bool) Deletion {
	return Deletion{Request: Request{Name: "worker", UID: "u", User: user, Verified: verified}}
}

func TestAnswerHoldsForTheSameUserNodeAndRules(t *testing.T) {
	l := emptyLedger()
	l.reserve(deletionBy("ed", false), []Rule{MaxTerminating}, night)
	other := deletionBy("ed", false)
	other.UID = "v"
	for name, test := range map[string]struct {
		deletion Deletion
		rules    []Rule
		after    time.Duration
		want     bool
	}{
		"the same":             {deletionBy("ed", false), []Rule{MaxTerminating}, time.Second, true},
		"fewer rules":          {deletionBy("ed", false), nil, time.Second, true},
		"another user":         {deletionBy("eve", false), []Rule{MaxTerminating}, time.Second, false},
		"another node":         {other, []Rule{MaxTerminating}, time.Second, false},
		"a rule not evaluated": {deletionBy("ed", false), []Rule{LastSchedulable, MaxTerminating}, time.Second, false},
		"a while ago":          {deletionBy("ed", false), []Rule{MaxTerminating}, allowedFor, false},
		"long ago":             {deletionBy("ed", false), []Rule{MaxTerminating}, reservedFor, false},
	} {
		if got := again(t, l, night.Add(test.after)).justAllowed(test.deletion, test.rules, night.Add(test.after)); got != test.want {
			t.Errorf("%s: it is %v", name, got)
		}
	}
	if later := again(t, l, night.Add(reservedFor)); len(later.reserved) > 0 {
		t.Errorf("after %s there is %v", reservedFor, later.reserved)
	}
}

func TestLastUserIsRecordedUnlessOneIsVerified(t *testing.T) {
	type request struct {
		user     string
		verified bool
		after    time.Duration
	}
	for name, test := range map[string]struct {
		requests []request
		want     string
		writes   int
	}{
		"one":                            {[]request{{"ed", false, 0}}, "ed (unverified)", 1},
		"twice":                          {[]request{{"ed", false, 0}, {"ed", false, time.Second}}, "ed (unverified)", 1},
		"again after a while":            {[]request{{"ed", false, 0}, {"ed", false, recordFor}}, "ed (unverified)", 2},
		"the last of two":                {[]request{{"ed", false, 0}, {"rita", false, time.Second}}, "rita (unverified)", 2},
		"forged before":                  {[]request{{"mallory", false, 0}, {"ed", true, time.Second}}, "ed", 2},
		"forged after":                   {[]request{{"ed", true, 0}, {"mallory", false, time.Second}}, "ed", 1},
		"the same user, now verified":    {[]request{{"ed", false, 0}, {"ed", true, time.Second}}, "ed", 2},
		"the same user, forged":          {[]request{{"ed", true, 0}, {"ed", false, time.Second}}, "ed", 1},
		"verified, which did not happen": {[]request{{"ed", true, 0}, {"rita", false, verifiedFor}}, "rita (unverified)", 2},
	} {
		l, writes := emptyLedger(), 0
		for _, one := range test.requests {
			l.changed = false
			if l.record(deletionBy(one.user, one.verified), night.Add(one.after)); l.changed {
				writes++
			}
		}
		if got := again(t, l, night).deletions["u"].String(); got != test.want || writes != test.writes {
			t.Errorf("%s: it is %q after %d writes, want %q after %d", name, got, writes, test.want, test.writes)
		}
	}
}

func TestLedgerIsBounded(t *testing.T) {
	fill := func(name string, n int) *ledger {
		l := emptyLedger()
		for i := range n {
			uid := types.UID(fmt.Sprintf("uid-%05d", i))
			l.deletions[uid] = api.Deletion{Node: "n", User: name, At: metav1.NewMicroTime(night.Add(time.Duration(i) * time.Millisecond))}
		}
		return l
	}
	if many := again(t, fill("ed", 3*maxRecords), night.Add(time.Minute)).deletions; len(many) != maxRecords || many[types.UID(fmt.Sprintf("uid-%05d", 3*maxRecords-1))].User == "" {
		t.Errorf("of many %d are kept", len(many))
	}
	data, err := fill(strings.Repeat("e", 1<<10), maxRecords).encode()
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for key, value := range data {
		size += len(key) + len(value)
	}
	if size > maxRecordBytes+1<<10 || size < maxRecordBytes/2 {
		t.Errorf("of long ones %d bytes are kept", size)
	}
	if old := again(t, fill("ed", 1), night.Add(maxRecordAge)).deletions; len(old) > 0 {
		t.Errorf("of old ones there is %v", old)
	}
}

// An agent of the version before writes a subset, and what it cannot read is no reason to stop.
func TestUndecodableEntriesAreSkipped(t *testing.T) {
	var faults []string
	l := decodeLedger(&corev1.ConfigMap{Data: map[string]string{
		reservationsKey: `[{"uid":"u","until":"2026-11-23T03:00:30Z"}]`, "broken": "{", "v": `{"node":"n","user":"ed","at":"2026-11-23T03:00:00.000000Z","new":1}`,
	}}, night, func(key string, _ error) { faults = append(faults, key) })
	if !l.isReserved("u") || l.deletions["v"].User != "ed" || len(l.deletions) != 1 || fmt.Sprint(faults) != "[broken]" {
		t.Errorf("read %+v, faults %q", l, faults)
	}
}
