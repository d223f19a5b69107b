package diagnose

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// blocked names the blocker of the whole run if no earlier rule found a more specific cause.
func blocked(f *found, now time.Time) *printer.Cause {
	condition := api.CleanupConditionOf(f.node)
	if condition == nil || condition.Reason != string(api.Blocked) || hostReturned(f, now) != nil || recordUnreadable(f, now) != nil || secretMissing(f, now) != nil {
		return nil
	}
	if f.agent != nil && inspect.Recovered(f.run, f.agent.Status) {
		return cause("blocked", inspect.RecoveredReason, "wait", retry(f), bypass(f))
	}
	if unhealthy := strings.TrimPrefix(condition.Message, api.NotStarted); unhealthy != condition.Message && allLackRights(unhealthy) && f.rights != nil {
		if f.rights.Fault() != "" {
			return nil // An earlier rule names the rights, and what to do.
		}
		return cause("blocked", "not started: the agent lacked rights when it last tried. It has them now, and tries again within a minute", "wait", retry(f), bypass(f))
	}
	options := f.unhealthyAddresses(condition.Message)
	if options == nil {
		options = []string{"kubectl nodecleanup preflight " + f.name, retry(f)}
	}
	return cause("blocked", condition.Message, append(options, bypass(f))...)
}

// allLackRights reports whether every unhealthy step lacks rights.
func allLackRights(unhealthy string) bool {
	return !slices.ContainsFunc(strings.Split(unhealthy, "; step "), func(step string) bool { return !access.SaysLacking(step) })
}

// unhealthyAddresses returns what to change if a critical step does not reach its destination. The
// cleanup continues by itself then. The message of the condition is newer than the agent's status.
func (f *found) unhealthyAddresses(message string) []string {
	var options []string
	for _, step := range f.planned {
		_, problem, found := strings.Cut(message, fmt.Sprintf("step %s (%s): ", step.Name, step.Plugin))
		if step.Critical && found {
			problem, _, _ = strings.Cut(problem, "; step ")
			options = append(options, f.address(step.Name, problem)...)
		}
	}
	return options
}

// repair is what to do about a step that does not reach its destination, or is refused there.
type repair struct {
	// outside is what to do outside the cluster, empty if nothing is.
	outside string
	// change is what to change in the config or in a Secret, and command does it.
	change, command string
}

// credentialRefused matches an error of a step whose destination refused its credential.
var credentialRefused = regexp.MustCompile(`\banswer(?:s| is) (401 Unauthorized|403 Forbidden)`)

// repairOf returns the repair of a step for its error, nil if none is known.
func (f *found) repairOf(name, problem string) *repair {
	at := slices.IndexFunc(f.planned, func(step config.Step) bool { return step.Name == name })
	if at < 0 {
		return nil
	}
	step := f.planned[at]
	url, bundle := urlAndCA(step.Options)
	refused := credentialRefused.FindStringSubmatch(problem)
	switch {
	case refused != nil:
		fix := f.changeCredential(step, url, bundle)
		if refused[1] == "403 Forbidden" {
			fix.outside = "give the credential its permissions at the service that step " + name + " calls"
		}
		return fix
	case step.Plugin != "http" && step.Plugin != "webhook":
		return nil
	}
	start := &repair{outside: "start the service that step " + name + " calls", change: "change its address", command: editConfig}
	if url.Name != "" {
		start.command = fmt.Sprintf("kubectl -n %s edit secret %s", f.namespace, url.Name)
	}
	return start
}

// changeCredential names the keys of Secrets that the step uses, except those of its address and CA.
func (f *found) changeCredential(step config.Step, others ...cleanup.SecretKey) *repair {
	var keys, secrets []string
	for _, key := range step.Secrets {
		if slices.Contains(others, key) {
			continue
		}
		keys = append(keys, fmt.Sprintf("key %s of secret %s", key.Key, key.Name))
		if !slices.Contains(secrets, key.Name) {
			secrets = append(secrets, key.Name)
		}
	}
	if len(keys) == 0 {
		return &repair{change: "change the credential of step " + step.Name, command: editConfig}
	}
	return &repair{
		change:  fmt.Sprintf("change the credential of step %s (%s)", step.Name, strings.Join(keys, ", ")),
		command: fmt.Sprintf("kubectl -n %s edit secret %s", f.namespace, strings.Join(secrets, " ")),
	}
}

// address returns how to repair a step that continues by itself then, nil if that is not known.
func (f *found) address(name, problem string) []string {
	fix := f.repairOf(name, problem)
	switch {
	case fix == nil:
		return nil
	case fix.outside == "":
		return []string{fix.change + ": " + fix.command}
	}
	return []string{fix.outside + ", or " + fix.change + ": " + fix.command}
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
