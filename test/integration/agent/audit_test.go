package agent_test

import (
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// audited returns the agent's requests to the API server since a mark.
func (f *fixture) audited(mark cluster.AuditMark) []cluster.AuditEvent {
	f.Helper()
	requests, err := shared.AuditSince(mark)
	if err != nil {
		f.Fatal(err)
	}
	user, _ := f.user()
	return slices.DeleteFunc(requests, func(request cluster.AuditEvent) bool { return request.User != user })
}

// mark is the end of the audit log.
func (f *fixture) mark() cluster.AuditMark {
	f.Helper()
	mark, err := shared.AuditMark()
	if err != nil {
		f.Fatal(err)
	}
	return mark
}
