package access

import (
	"errors"
	"strings"
)

// lacking begins each statement of the agent and of the CLI about missing rights of the agent, so that all
// of them name one cause by the same words.
const lacking = "the agent lacks rights: "

// Lacking says that the agent lacks what is named: rights, or roles and bindings that do not exist.
func Lacking(what string) string { return lacking + what }

// SaysLacking reports whether a text says that the agent lacks rights.
func SaysLacking(text string) bool { return strings.Contains(text, lacking) }

// Explain returns an error that names the right that the agent lacks, if the API server denied a request of
// the agent for it. It returns every other error unchanged. The API server's message names the agent's
// service account and the roles that it has searched, which helps nobody to repair it.
func Explain(err error) error {
	if right, denied := Denied(err); denied {
		return errors.New(Lacking(Describe(right)))
	}
	return err
}
