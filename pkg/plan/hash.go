package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Hash identifies the plan of one Node. It has a part for each kind of facts, so that two hashes
// show which kind differs. The CLI and the agent compute the same hash from the same facts: it
// contains no time, no order, and nothing that depends on the rights of the caller.
type Hash struct {
	node, config, steps, effects string
}

// Hash returns the hash of the plan for a Node, without the effects of its steps.
func (p Plan) Hash(node types.UID, settings *config.Config) Hash {
	return Hash{node: part(node), config: part(settings.Hash, settings.DryRun), steps: part(p.StepsHash)}
}

// WithEffects returns the hash with the effects of the steps' previews, by the name of the step.
// The cordon does not count, because the cleanup itself sets it. Current blockers do not count
// either, nor do effects that only the agent can know because another system reported them.
func (h Hash) WithEffects(effects map[string][]cleanup.Effect) Hash {
	type fact struct {
		Step   string
		Action cleanup.Action
		UID    types.UID
		Object cleanup.Object
		Option string
	}
	var facts []string
	for step, all := range effects {
		for _, effect := range all {
			if effect.Action == cleanup.Cordon || effect.ReportedBy != "" {
				continue
			}
			one := fact{Step: step, Action: effect.Action, UID: effect.UID}
			if effect.UID == "" {
				one.Object = effect.Object
			}
			if effect.Blocked != nil && effect.Blocked.Cause == cleanup.BlockedByOption {
				one.Option = effect.Blocked.Option
			}
			facts = append(facts, part(one))
		}
	}
	slices.Sort(facts)
	h.effects = part(facts)
	return h
}

// partLength is the number of hexadecimal digits of each part.
const partLength = 5

// part returns one part of a hash.
func part(facts ...any) string {
	data, err := json.Marshal(facts)
	if err != nil {
		panic(fmt.Sprintf("encoding strings cannot fail: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:partLength]
}

// String returns the form that people pass to the CLI: "9f3c1-0a2b4-77d1e-c0ffe".
func (h Hash) String() string {
	return strings.Join([]string{h.node, h.config, h.steps, h.effects}, "-")
}

var hashForm = regexp.MustCompile(fmt.Sprintf(`^[0-9a-f]{%d}(-[0-9a-f]{%[1]d}){3}$`, partLength))

// ParseHash reads a hash that String has returned.
func ParseHash(text string) (Hash, error) {
	if !hashForm.MatchString(text) {
		return Hash{}, fmt.Errorf("%q is not the hash of a plan, such as 9f3c1-0a2b4-77d1e-c0ffe", text)
	}
	parts := strings.Split(text, "-")
	return Hash{node: parts[0], config: parts[1], steps: parts[2], effects: parts[3]}, nil
}

// Changes describes how the plan of the hash differs from the plan now, or returns "". It compares
// the effects only if now has them. If several parts differ, it names the one that explains the
// others.
func (h Hash) Changes(now Hash) string {
	switch {
	case h.node != now.node:
		return "it is the plan of another node, or of an earlier node with this name"
	case h.config != now.config:
		return "the config changed"
	case h.steps != now.steps:
		return "the node changed (for example its labels), so that other steps apply"
	case h.effects != cmp.Or(now.effects, h.effects):
		return "the pods or volumes of the node changed"
	}
	return ""
}
