package command

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Undecodable is what an operator reads about a run record that this CLI cannot decode.
type Undecodable struct {
	// What says which record it is, why it cannot be decoded, and what that means.
	What string
	// Next says what to do. It never says to delete the record: that is the one copy of what
	// was done.
	Next string
	// Paused: no further step begins until an operator acts.
	Paused bool
	// Running: the agent has not noticed it yet, because a step runs.
	Running bool
}

// String returns both in one line.
func (u Undecodable) String() string { return u.What + ". " + u.Next }

// UndecodableOf is about the record of a node that is there. An agent of another version may
// decode what this CLI cannot; if it cannot either, its condition says Blocked. NoLeader: no agent is the leader, so no
// step runs, whatever the condition says.
func UndecodableOf(node *corev1.Node, err error, noLeader bool) Undecodable {
	condition := api.CleanupConditionOf(node)
	if anotherVersion(err) && (condition == nil || condition.Reason != string(api.Blocked)) {
		return Undecodable{What: cannotDecode(err), Next: "Another version wrote the record: upgrade the CLI"}
	}
	if condition != nil && condition.Reason == string(api.Running) && !noLeader {
		return Undecodable{What: cannotDecode(err) + ". A running step continues, and no other step begins", Next: resume(node.Name), Paused: true, Running: true}
	}
	return Undecodable{What: cannotDecode(err) + ". The cleanup is paused", Next: resume(node.Name), Paused: true}
}

// UndecodablePast is about a record of a node that may be deleted. A step of its cleanup may run.
func UndecodablePast(node string, err error) Undecodable {
	if anotherVersion(err) {
		return UndecodableOfDeletedNode(err)
	}
	return Undecodable{What: fmt.Sprintf("%s. If node %s still exists, no other step of its cleanup begins", cannotDecode(err), node), Next: resume(node)}
}

// UndecodableOfDeletedNode is about a record of a node that is deleted.
func UndecodableOfDeletedNode(err error) Undecodable {
	return Undecodable{What: cannotDecode(err), Next: "If a newer version wrote the record, upgrade the CLI"}
}

func anotherVersion(err error) bool {
	var version *api.VersionError
	return errors.As(err, &version)
}

func cannotDecode(err error) string {
	var record *api.RecordError
	if errors.As(err, &record) {
		return fmt.Sprintf("cannot decode run record %s: %v", record.Record, record.Err)
	}
	return fmt.Sprintf("cannot decode the run record: %v", err)
}

// resume is what the agent advises in the condition, too.
func resume(node string) string {
	return fmt.Sprintf("If a newer version wrote the record, upgrade the agent and the CLI. Otherwise run every step again: kubectl nodecleanup retry %s; "+
		"or bypass the cleanup: kubectl nodecleanup bypass %[1]s --reason \"…\"", node)
}
