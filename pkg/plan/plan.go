// Package plan decides which steps a cleanup of one Node has, and in which
// waves: steps and a Node in, pure data out.
package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Plan lists the steps of a cleanup of one Node, in waves.
type Plan struct {
	// Waves in order: the steps of a wave depend on steps of earlier waves
	// only, and are sorted by priority, then by name.
	Waves [][]config.Step
	// Skipped steps, in the order of the config, and why.
	Skipped []Skip
	// StepsHash identifies the steps: two plans with the same steps, options and skips have the
	// same hash. It has 6 hexadecimal digits, so that users can compare it.
	StepsHash string
}

// Skip is a step that does not apply to the Node.
type Skip struct {
	Step   config.Step
	Reason string
}

// Steps returns the steps of all waves, in order.
func (p Plan) Steps() []config.Step {
	return slices.Concat(p.Waves...)
}

// Build returns the plan for a Node. The steps come from a checked config. A skipped step counts
// as done for the steps that depend on it. The steps named by kept are never skipped.
func Build(steps []config.Step, node *corev1.Node, kept ...string) Plan {
	plan := Plan{}
	var applying []config.Step
	for _, step := range steps {
		if reason := skipReason(step, node); reason != "" && !slices.Contains(kept, step.Name) {
			plan.Skipped = append(plan.Skipped, Skip{Step: step, Reason: reason})
			continue
		}
		applying = append(applying, step)
	}
	plan.Waves = waves(steps, applying)
	plan.StepsHash = stepsHash(plan)
	return plan
}

func skipReason(step config.Step, node *corev1.Node) string {
	if !step.NodeSelector.Matches(labels.Set(node.Labels)) {
		return fmt.Sprintf("the node's labels do not match the step's nodeSelector %q", step.NodeSelector)
	}
	if filter, can := step.Bound.(cleanup.NodeFilter); can {
		if applies, reason := filter.Applies(node); !applies {
			return cmp.Or(reason, "the plugin says it does not apply to this node")
		}
	}
	return ""
}

// waves puts each applying step one wave after the last of its dependencies. A dependency on a
// skipped step becomes a dependency on that step's own dependencies.
func waves(all, applying []config.Step) [][]config.Step {
	byName := map[string]config.Step{}
	for _, step := range all {
		byName[step.Name] = step
	}
	applies := map[string]bool{}
	for _, step := range applying {
		applies[step.Name] = true
	}
	depth := map[string]int{}
	var depthOf func(name string) int
	depthOf = func(name string) int {
		if known, found := depth[name]; found {
			return known
		}
		deepest := 0
		for _, dependency := range byName[name].DependsOn {
			below := depthOf(dependency)
			if applies[dependency] {
				below++
			}
			deepest = max(deepest, below)
		}
		depth[name] = deepest
		return deepest
	}
	var result [][]config.Step
	for _, step := range applying {
		wave := depthOf(step.Name)
		for len(result) <= wave {
			result = append(result, nil)
		}
		result[wave] = append(result[wave], step)
	}
	for _, wave := range result {
		slices.SortFunc(wave, func(a, b config.Step) int {
			return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
		})
	}
	return result
}

func stepsHash(plan Plan) string {
	type line struct {
		Wave            int
		Name, Plugin    string
		Critical        bool
		DependsOn       []string
		Options, Reason string
	}
	var lines []line
	for i, wave := range plan.Waves {
		for _, step := range wave {
			lines = append(lines, line{i, step.Name, step.Plugin, step.Critical, step.DependsOn, string(step.Options), ""})
		}
	}
	for _, skip := range plan.Skipped {
		lines = append(lines, line{-1, skip.Step.Name, skip.Step.Plugin, skip.Step.Critical, nil, "", skip.Reason})
	}
	data, err := json.Marshal(lines)
	if err != nil {
		panic(fmt.Sprintf("encoding strings and numbers cannot fail: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:6]
}
