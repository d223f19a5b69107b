package inspect

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Absence is why no agent updates what it has stored about cleanups, such as their progress. It is zero while an
// agent does, or if that is not known.
type Absence struct {
	// NoLeader: no agent is the leader, so no step runs. LastLed is when one was, nil if it is not known.
	NoLeader bool
	LastLed  *metav1.Time
	// LacksRights: the leader lacks a role or binding that it needs with every config.
	LacksRights bool
}

// Absence returns why no agent updates what it has stored.
func (s *Snapshot) Absence() Absence {
	if !s.Leadership.HasLeader {
		absence := Absence{NoLeader: true}
		if lease := s.Leadership.Lease; lease != nil && lease.Spec.RenewTime != nil {
			absence.LastLed = &metav1.Time{Time: lease.Spec.RenewTime.Time}
		}
		return absence
	}
	return Absence{LacksRights: LacksOwnRights(s.MissingGrants)}
}

// ReadAbsence is like Absence of a snapshot, and zero if the caller cannot read whether an agent is the leader. Now is
// the API server's time.
func ReadAbsence(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time) Absence {
	s, err := NewReader(client, namespace, now).Agent(ctx)
	if err != nil {
		return Absence{}
	}
	return s.Absence()
}

// none reports whether an agent updates what it has stored.
func (a Absence) none() bool { return a == Absence{} }

// Qualify says how old the text is that the agent has stored about a cleanup in that state. It returns the text
// unchanged while an agent updates it, and in the states that remain true without one. The time is absolute: status -w
// prints each line that changes.
func (a Absence) Qualify(state api.State, text string) string {
	switch {
	case text == "" || slices.Contains([]api.State{api.Succeeded, api.Failed, api.Canceled, api.Bypassed}, state):
		return text
	case a.NoLeader && a.LastLed != nil:
		return "as of " + a.LastLed.UTC().Format(time.RFC3339) + ", when an agent last was the leader: " + text
	case a.NoLeader:
		return "not current, because no agent is the leader: " + text
	case a.LacksRights:
		return "may be out of date, because the agent lacks rights: " + text
	}
	return text
}
