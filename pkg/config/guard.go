package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/labels"
)

// Answer is the decision of the delete guard about a deletion.
type Answer string

// The answers.
const (
	Allow  Answer = "allow"
	Refuse Answer = "refuse"
)

// DeleteGuard configures which deletions of Nodes are denied.
type DeleteGuard struct {
	// Enabled turns the guard on. If it is false, the guard denies no deletion, not even of a Node
	// with the protect annotation.
	Enabled bool
	// CriticalPods keep the Node on which one of them runs.
	CriticalPods []PodSelector
	// ControlPlane is the answer for a control-plane Node. LastSchedulable is the answer for the
	// last Node that can run a Pod without tolerations.
	ControlPlane, LastSchedulable Answer
	// MaxTerminating limits the Nodes that terminate at the same time.
	MaxTerminating Limit
	// ExemptUsers and ExemptGroups are never refused anything.
	ExemptUsers, ExemptGroups []string
	// OnReadError is the answer if the guard cannot read the facts for a rule.
	OnReadError Answer
}

// PodSelector chooses pods.
type PodSelector struct {
	// Namespaces to choose from; empty for all.
	Namespaces []string
	Selector   labels.Selector
}

// Matches reports whether a pod is chosen.
func (s PodSelector) Matches(namespace string, pod labels.Labels) bool {
	return (len(s.Namespaces) == 0 || slices.Contains(s.Namespaces, namespace)) && s.Selector.Matches(pod)
}

// Limit is a number, or a share of a whole; zero for none.
type Limit struct {
	Number  int
	Percent int
}

// Set reports whether there is a limit.
func (l Limit) Set() bool { return l != Limit{} }

// Of returns the limit for a whole of that size. A share is rounded down, and is 1 at
// least: a small cluster could never release a Node otherwise.
func (l Limit) Of(whole int) int {
	if l.Percent > 0 {
		return max(1, whole*l.Percent/100)
	}
	return l.Number
}

// String returns it as config writes it.
func (l Limit) String() string {
	if l.Percent > 0 {
		return fmt.Sprintf("%d%%", l.Percent)
	}
	return strconv.Itoa(l.Number)
}

type fileGuard struct {
	// Enabled turns the guard on. Without the guard, the agent allows every deletion.
	Enabled *bool `yaml:"enabled" jsonschema:"default=true"`
	// CriticalPods deny the deletion of a Node on which one of them runs.
	CriticalPods []filePods `yaml:"criticalPods"`
	// ControlPlane is the answer for a control-plane Node.
	ControlPlane Answer `yaml:"controlPlane" jsonschema:"enum=allow,enum=refuse,default=allow"`
	// LastSchedulable is the answer for the last schedulable Node.
	LastSchedulable Answer `yaml:"lastSchedulable" jsonschema:"enum=allow,enum=refuse,default=allow"`
	// MaxTerminating denies the deletion of a Node while this many other Nodes terminate.
	MaxTerminating *fileLimit `yaml:"maxTerminating"`
	// Exempt names users and groups to which no rule applies.
	Exempt fileExempt `yaml:"exempt"`
	// OnReadError is the answer if the agent cannot read the Node or evaluate a rule.
	OnReadError Answer `yaml:"onReadError" jsonschema:"enum=allow,enum=refuse,default=allow"`
}

type filePods struct {
	// Namespaces are the namespaces of the Pods. Without them, all namespaces.
	Namespaces []string `yaml:"namespaces"`
	// Selector is the label selector of the Pods.
	Selector selector `yaml:"selector"`
}

type fileExempt struct {
	// Users are exact names of users.
	Users []string `yaml:"users"`
	// Groups are exact names of groups.
	Groups []string `yaml:"groups"`
}

// fileLimit is a number such as 3 or a share such as 10%.
type fileLimit struct{ Limit }

func (l *fileLimit) UnmarshalYAML(node *yaml.Node) error {
	written, isShare := strings.CutSuffix(node.Value, "%")
	number, err := strconv.Atoi(written)
	switch {
	case err != nil || number < 1 || node.Kind != yaml.ScalarNode:
		return fault(node, "%q is neither a number of nodes from 1 nor a share of them such as 10%%", node.Value)
	case isShare && number > 100:
		return fault(node, "%q is more than 100%%", node.Value)
	case isShare:
		l.Percent = number
	default:
		l.Number = number
	}
	return nil
}

func (p *parser) guard(written fileGuard) DeleteGuard {
	guard := DeleteGuard{
		Enabled:         written.Enabled == nil || *written.Enabled,
		ControlPlane:    p.answer("guard.controlPlane", written.ControlPlane),
		LastSchedulable: p.answer("guard.lastSchedulable", written.LastSchedulable),
		OnReadError:     p.answer("guard.onReadError", written.OnReadError),
		ExemptUsers:     p.names("guard.exempt.users", written.Exempt.Users),
		ExemptGroups:    p.names("guard.exempt.groups", written.Exempt.Groups),
	}
	if written.MaxTerminating != nil {
		guard.MaxTerminating = written.MaxTerminating.Limit
	}
	if i := slices.Index(guard.ExemptGroups, "system:authenticated"); i >= 0 {
		p.fault(fmt.Sprintf("guard.exempt.groups[%d]", i), "every user is in system:authenticated: to refuse nothing to anybody, set guard.enabled to false")
	}
	for i, pods := range written.CriticalPods {
		path := fmt.Sprintf("guard.criticalPods[%d]", i)
		chosen, err := pods.Selector.compile()
		if err != nil {
			p.fault(path+".selector", "%v", err)
			continue
		}
		if len(pods.Namespaces) == 0 && chosen.Empty() {
			p.fault(path, "selects all pods: set namespaces or a selector")
		}
		guard.CriticalPods = append(guard.CriticalPods, PodSelector{Namespaces: p.names(path+".namespaces", pods.Namespaces), Selector: chosen})
	}
	return guard
}

func (p *parser) answer(path string, written Answer) Answer {
	switch written {
	case "":
		return Allow
	case Allow, Refuse:
	default:
		p.fault(path, "must be %s or %s, not %q", Allow, Refuse, string(written))
	}
	return written
}

// names are unique, and none is empty.
func (p *parser) names(path string, written []string) []string {
	for i, name := range written {
		at := fmt.Sprintf("%s[%d]", path, i)
		if strings.TrimSpace(name) == "" {
			p.fault(at, "is empty")
		} else if slices.Contains(written[:i], name) {
			p.fault(at, "%q is listed twice", name)
		}
	}
	return written
}
