package azurevirtualmachine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/sleep"
)

type plugin struct {
	options
	api   API
	clock clock.WithTicker
}

const (
	// pollPeriod is the time between two requests for the state. Azure allows 25 reads per second and subscription
	// over a longer time (https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling),
	// so it can follow 250 deletions.
	pollPeriod = 10 * time.Second
	// requestAgain is the time after which a deletion that has not begun is requested again.
	requestAgain = time.Minute
)

// kind is that of the objects of effects.
const kind = "VirtualMachine"

// vmID is the output with the ID of the virtual machine, or absent if there was none.
const (
	vmID   = "vmId"
	absent = "absent"
)

// OutputNames implements cleanup.OutputNamer.
func (p *plugin) OutputNames() []string { return []string{vmID} }

// Applies implements cleanup.NodeFilter: the Node is in Azure.
func (p *plugin) Applies(node *corev1.Node) (applies bool, reason string) {
	if !strings.HasPrefix(node.Spec.ProviderID, scheme) {
		return false, fmt.Sprintf("provider ID %q is not that of a virtual machine in Azure", node.Spec.ProviderID)
	}
	return true, ""
}

// machine returns the virtual machine of a Node. The step deletes nothing outside of its resource groups.
func (p *plugin) machine(node *corev1.Node) (ID, error) {
	id, err := parse(node.Spec.ProviderID)
	if err != nil {
		return ID{}, cleanup.Permanent(err)
	}
	if !slices.ContainsFunc(p.ResourceGroups, id.in) {
		return ID{}, cleanup.Permanent(fmt.Errorf("virtual machine %s is in resource group /subscriptions/%s/resourceGroups/%s, which is not in the option resourceGroups",
			id, id.Subscription, id.ResourceGroup))
	}
	return id, nil
}

// Cleanup implements cleanup.Plugin. It continues after a restart without a stored operation: the state of the
// virtual machine says whether Azure is deleting it.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	id, err := p.machine(target.Node)
	if err != nil {
		return err
	}
	known := target.Outputs[target.Step][vmID]
	var requested time.Time
	for {
		vm, err := p.api.Get(ctx, p.Cloud, id)
		switch delay, throttled := cleanup.RetryDelay(err); {
		case errors.Is(err, ErrNotFound) || err == nil && replaced(known, vm):
			target.Log.Info("the virtual machine does not exist", "virtualMachine", id.String())
			if known == "" { // A later virtual machine with this name is that of another Node.
				return target.Output(vmID, absent)
			}
			return nil
		case throttled && !requested.IsZero(): // Many Nodes exceed the limit together.
			if ended := sleep.For(ctx, p.clock, max(delay, pollPeriod)); ended != nil {
				return fmt.Errorf("%w: %w", ended, err)
			}
			continue
		case err != nil:
			return fmt.Errorf("reading virtual machine %s: %w", id, err)
		}
		if known == "" || vm.VMID == "" {
			if reason := p.foreign(target.Node, id, vm); reason != "" {
				return cleanup.Permanent(fmt.Errorf("refusing to delete virtual machine %s: %s. If it is that of the node, set the option skipIdentityCheck", id, reason))
			}
		}
		if known == "" && vm.VMID != "" {
			known = vm.VMID
			if err := target.Output(vmID, known); err != nil {
				return err
			}
		}
		begun := vm.State == StateDeleting
		if !begun && (requested.IsZero() || p.clock.Since(requested) >= requestAgain) {
			if vm.State == StateFailed && !requested.IsZero() {
				return fmt.Errorf("deleting virtual machine %s: Azure reports provisioning state %s: %s", id, vm.State, orUnknown(vm.Message))
			}
			if err := p.api.Delete(ctx, p.Cloud, id); err != nil && !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("deleting virtual machine %s: %w", id, err)
			}
			begun = true
		}
		if begun {
			requested = p.clock.Now()
		}
		progress := fmt.Sprintf("waiting until Azure has deleted virtual machine %s", id)
		target.Progress(progress)
		if err := sleep.For(ctx, p.clock, pollPeriod); err != nil {
			return fmt.Errorf("%s: %w", progress, err)
		}
	}
}

func (p *plugin) foreign(node *corev1.Node, id ID, vm VM) string {
	if p.SkipIdentityCheck {
		return ""
	}
	return foreign(node, id, vm)
}

// replaced reports whether a virtual machine is another one than that which an earlier attempt found.
func replaced(known string, vm VM) bool {
	return known != "" && vm.VMID != "" && !strings.EqualFold(known, vm.VMID)
}

func orUnknown(message string) string {
	if message == "" {
		return "it does not say why"
	}
	return message
}

// Verify implements cleanup.Verifier: the virtual machine does not exist.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	id, err := p.machine(target.Node)
	if err != nil {
		return "", err
	}
	vm, err := p.api.Get(ctx, p.Cloud, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("reading virtual machine %s: %w", id, err)
	case replaced(target.Outputs[target.Step][vmID], vm):
		return "", nil
	}
	return fmt.Sprintf("virtual machine %s exists, provisioning state %s", id, vm.State), nil
}

// Preview implements cleanup.Previewer. Only the agent asks Azure; the CLI names the virtual machine.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	id, err := p.machine(target.Node)
	if err != nil {
		return []cleanup.Effect{{
			Action: "Delete", Object: cleanup.Object{Kind: kind, Name: target.Node.Spec.ProviderID},
			Blocked: &cleanup.Blocker{Cause: "ProviderID", Message: err.Error()},
		}}, nil
	}
	object := cleanup.Object{Kind: kind, Name: id.String()}
	effects := []cleanup.Effect{{Action: "Delete", Object: object, Reason: "resource group " + id.ResourceGroup}}
	if p.api == nil {
		return effects, nil
	}
	vm, err := p.api.Get(ctx, p.Cloud, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("reading virtual machine %s: %w", id, err)
	}
	switch reason := p.foreign(target.Node, id, vm); {
	case err != nil:
		effects = append(effects, cleanup.Effect{Action: cleanup.Skip, Reason: fmt.Sprintf("virtual machine %s does not exist", id), ReportedBy: "Azure"})
	case reason != "":
		effects = append(effects, cleanup.Effect{
			Action: "Delete", Object: object, ReportedBy: "Azure",
			Blocked: &cleanup.Blocker{Cause: cleanup.BlockedByOption, Message: reason, Option: "skipIdentityCheck"},
		})
	default:
		effects = append(effects, cleanup.Effect{Action: "Delete", Object: object, Reason: "now " + vm.State, ReportedBy: "Azure"})
	}
	return effects, nil
}

// CheckHealth implements cleanup.HealthChecker: the agent may read virtual machines of both kinds in each resource
// group. It reads names that do not exist: Azure checks the rights first. It changes nothing.
func (p *plugin) CheckHealth(ctx context.Context) error {
	for _, group := range p.ResourceGroups {
		parts := resourceGroupID.FindStringSubmatch(group)
		for _, scaleSet := range []string{"", "nodecleanup-health-check"} {
			id := ID{Subscription: strings.ToLower(parts[1]), ResourceGroup: parts[2], ScaleSet: scaleSet, Name: "nodecleanup-health-check"}
			what := "virtual machines"
			if scaleSet != "" {
				id.Name, what = "0", "instances of scale sets"
			}
			if _, err := p.api.Get(ctx, p.Cloud, id); err != nil && !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("reading %s in resource group %s: %w", what, id.ResourceGroup, err)
			}
		}
	}
	return nil
}
