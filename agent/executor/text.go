package executor

import (
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
)

// maxEffects limits how many effects of a preview are recorded: the ConfigMap of a record holds at most
// 1 MiB.
const maxEffects = 50

// redactEffects returns the first maxEffects effects. It redacts every text, then shortens it.
func (e *Executor) redactEffects(effects []cleanup.Effect) []cleanup.Effect {
	clean := func(text string) string { return shorten(e.redact(text)) }
	var kept []cleanup.Effect
	for i, effect := range effects {
		if i == maxEffects {
			return append(kept, cleanup.Effect{Action: cleanup.Unknown, Reason: fmt.Sprintf("and %d more", len(effects)-maxEffects)})
		}
		effect.Object = cleanup.Object{Kind: clean(effect.Object.Kind), Namespace: clean(effect.Object.Namespace), Name: clean(effect.Object.Name)}
		effect.Action, effect.Reason, effect.Unchecked = cleanup.Action(clean(string(effect.Action))), clean(effect.Reason), clean(effect.Unchecked)
		effect.ReportedBy = clean(effect.ReportedBy)
		if effect.Blocked != nil {
			blocked := *effect.Blocked
			blocked.Cause, blocked.Message, blocked.Option = api.BlockedCause(clean(string(blocked.Cause))), clean(blocked.Message), clean(blocked.Option)
			effect.Blocked = &blocked
		}
		kept = append(kept, effect)
	}
	return kept
}

// maxText is the length in bytes at which shorten cuts a text and appends an ellipsis.
const maxText = 1024

func shorten(text string) string { return truncate.Bytes(text, maxText) }
