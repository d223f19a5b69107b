package cli_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// requestsOf returns a user's requests to the API server since a mark.
func requestsOf(t *testing.T, user string, mark cluster.AuditMark) []cluster.AuditEvent {
	t.Helper()
	events, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(events, func(e cluster.AuditEvent) bool { return e.User != user })
}

func auditMark(t *testing.T) cluster.AuditMark {
	t.Helper()
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	return mark
}

// wantNoWrites wants requests, and none of them one that stores anything.
func wantNoWrites(t *testing.T, requests []cluster.AuditEvent) {
	t.Helper()
	if len(requests) == 0 {
		t.Fatal("the audit log holds no request of this user: the test proves nothing")
	}
	for _, request := range requests {
		reads := slices.Contains([]string{"get", "list", "watch"}, request.Verb)
		// A review is created and answered, and stored nowhere.
		reads = reads || request.APIGroup == "authorization.k8s.io"
		if !reads && !strings.Contains(request.URI, "dryRun=All") {
			t.Errorf("a write: %s %s", request.Verb, request.URI)
		}
	}
}
