// Package repair names what to change if a step or a notification does not reach its destination, or is refused
// there.
package repair

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// EditConfig is the command that changes the config.
const EditConfig = "kubectl nodecleanup config edit"

// Use is a step or a notification of the config: one use of a plugin.
type Use struct {
	// Place is its kind and name, such as "step inventory".
	Place  string
	Plugin string
	// Options as JSON; secrets are in it as references only.
	Options []byte
	// Secrets are the keys that the options refer to.
	Secrets []cleanup.SecretKey
}

// OfStep returns a step as a use of its plugin.
func OfStep(step config.Step) Use {
	return Use{Place: "step " + step.Name, Plugin: step.Plugin, Options: step.Options, Secrets: step.Secrets}
}

// OfNotification returns a notification as a use of its plugin.
func OfNotification(one config.Notification) Use {
	return Use{Place: "notification " + one.Name, Plugin: one.Plugin, Options: one.Options, Secrets: one.Secrets}
}

// Repair is what to do.
type Repair struct {
	// Outside is what to do outside the cluster, empty if nothing is.
	Outside string
	// Change is what to change in the config or in a Secret, and Command does it.
	Change, Command string
}

// Line returns the repair as one line, the command last.
func (r *Repair) Line() string {
	if r.Outside == "" {
		return r.Change + ": " + r.Command
	}
	return r.Outside + ", or " + r.Change + ": " + r.Command
}

// refusedCredential and answered match an error whose destination refused the credential, or answered with
// another error.
var (
	refusedCredential = regexp.MustCompile(`\banswer(?:s| is) (401 Unauthorized|403 Forbidden)`)
	answered          = regexp.MustCompile(`\banswer(?:s| is) [1-5][0-9]{2}\b`)
)

// CredentialRefused reports whether the error of a step or notification is that its destination refused the
// credential. A health check does not find that, if it does not use the credential.
func CredentialRefused(problem string) bool { return refusedCredential.MatchString(problem) }

// For returns the repair for an error of the use, nil if none is known. The Secrets are in the namespace.
func (u Use) For(namespace, problem string) *Repair {
	url, bundle := urlAndCA(u.Options)
	refused := refusedCredential.FindStringSubmatch(problem)
	switch {
	case refused != nil:
		fix := u.changeCredential(namespace, url, bundle)
		if refused[1] == "403 Forbidden" {
			fix.Outside = "give the credential its permissions at the service that " + u.Place + " calls"
		}
		return fix
	case u.Plugin != "http" && u.Plugin != "webhook":
		return nil
	}
	verb := "start"
	if answered.MatchString(problem) {
		verb = "fix"
	}
	start := &Repair{Outside: verb + " the service that " + u.Place + " calls", Change: "change its address", Command: EditConfig}
	if url.Name != "" {
		start.Command = fmt.Sprintf("kubectl -n %s edit secret %s", namespace, url.Name)
	}
	return start
}

// changeCredential names the keys of Secrets that are used, except those of the address and the CA.
func (u Use) changeCredential(namespace string, others ...cleanup.SecretKey) *Repair {
	var keys, secrets []string
	for _, key := range u.Secrets {
		if slices.Contains(others, key) {
			continue
		}
		keys = append(keys, fmt.Sprintf("key %s of secret %s", key.Key, key.Name))
		if !slices.Contains(secrets, key.Name) {
			secrets = append(secrets, key.Name)
		}
	}
	if len(keys) == 0 {
		return &Repair{Change: "change the credential of " + u.Place, Command: EditConfig}
	}
	return &Repair{
		Change:  fmt.Sprintf("change the credential of %s (%s)", u.Place, strings.Join(keys, ", ")),
		Command: fmt.Sprintf("kubectl -n %s edit secret %s", namespace, strings.Join(secrets, " ")),
	}
}

// urlAndCA returns the keys that the options url and caBundle refer to, empty if their values are in the config
// itself.
func urlAndCA(options []byte) (url, bundle cleanup.SecretKey) {
	var written struct {
		URL      cleanup.Value `json:"url"`
		CABundle cleanup.Value `json:"caBundle"`
	}
	if json.Unmarshal(options, &written) != nil {
		return url, bundle // Values in a Secret can be decoded.
	}
	url, _ = written.URL.SecretKey()
	bundle, _ = written.CABundle.SecretKey()
	return url, bundle
}
