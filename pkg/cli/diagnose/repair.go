package diagnose

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

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

// testOf returns the command that tests the plugin of a step. A health check does not use the credential that a
// destination has refused.
func testOf(step api.StepRun) []string {
	if credentialRefused.MatchString(step.LastError) {
		return nil
	}
	return []string{"kubectl nodecleanup plugins test " + step.Name}
}

// fixFailed returns how to repair a failed step, and to retry it if the agent does not do so by itself.
func (f *found) fixFailed(step api.StepRun) []string {
	fix := f.repairOf(step.Name, step.LastError)
	if fix == nil || f.lacksSecret(step.Name) {
		return []string{fmt.Sprintf("fix the cause. Unless that changes %s, run: %s", f.retryingChanges(step.Name), retry(f))}
	}
	changed := fix.change + "; the agent then retries by itself: " + fix.command
	if fix.outside == "" {
		return []string{changed}
	}
	return []string{fix.outside + ", then run: " + retry(f), changed}
}

// retryingChanges names the changes after which the agent retries a failed step by itself: to the config, or to a
// Secret that the step uses.
func (f *found) retryingChanges(name string) string {
	at := slices.IndexFunc(f.planned, func(step config.Step) bool { return step.Name == name })
	if at < 0 {
		return "the config or a Secret of the step"
	}
	text := "the config"
	var known []string
	for _, key := range f.planned[at].Secrets {
		if !slices.Contains(known, key.Name) {
			known, text = append(known, key.Name), text+" or secret "+key.Name
		}
	}
	return text
}

func orWait(options []string) []string {
	if options == nil {
		return []string{"wait"}
	}
	return options
}
