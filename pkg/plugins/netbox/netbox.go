package netbox

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

type plugin struct {
	options
	api *httpclient.API
}

// idOutput is the output with the ID of the record.
const idOutput = "id"

// OutputNames implements cleanup.OutputNamer.
func (p *plugin) OutputNames() []string { return []string{idOutput} }

// Cleanup implements cleanup.Plugin. An attempt after the first one changes only the record that the first one found:
// after a deletion, another one can have the same name.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	found, err := p.find(ctx, target)
	if errors.Is(err, errNotFound) {
		return p.absent(target, err)
	}
	if err != nil {
		return err
	}
	if err := target.Output(idOutput, strconv.Itoa(found.ID)); err != nil {
		return err
	}
	switch {
	case p.Action == actionDelete:
		err = p.api.Call(ctx, http.MethodDelete, p.recordPath(found.ID), nil, nil)
	case found.Status.Value == p.Status:
		target.Log.Info("the status is set already", "kind", p.Kind, "id", found.ID, "status", p.Status)
	default:
		err = p.api.Call(ctx, http.MethodPatch, p.recordPath(found.ID), map[string]string{"status": p.Status}, nil)
	}
	if httpclient.StatusCode(err) == http.StatusNotFound {
		return p.absent(target, fmt.Errorf("%s %d was deleted in the meantime", p.noun(), found.ID))
	}
	return err
}

// absent ends a step whose record does not exist.
func (p *plugin) absent(target cleanup.Target, why error) error {
	if _, before := target.Outputs[target.Step][idOutput]; p.MustExist && !before {
		return cleanup.Permanent(fmt.Errorf("%w (option mustExist)", why))
	}
	target.Log.Info("there is nothing to change", "reason", why)
	return nil
}

// find returns the record of the Node: that of an earlier attempt, or else the one that a search finds.
func (p *plugin) find(ctx context.Context, target cleanup.Target) (record, error) {
	if id, err := strconv.Atoi(target.Outputs[target.Step][idOutput]); err == nil {
		var found record
		err := p.api.Call(ctx, http.MethodGet, p.recordPath(id), nil, &found)
		if httpclient.StatusCode(err) == http.StatusNotFound {
			err = fmt.Errorf("NetBox no longer has %s %d: %w", p.noun(), id, errNotFound)
		}
		return found, err
	}
	value, err := p.Value.Expand(target, nil)
	if err != nil {
		return record{}, err
	}
	if value == "" { // NetBox would ignore the filter.
		return record{}, cleanup.Permanent(fmt.Errorf("the value of %s is empty: %s", p.Field, p.Value))
	}
	found, err := p.search(ctx, value)
	if err != nil {
		return record{}, err
	}
	if p.MatchAddress && !found.hasAddressOf(target.Node) {
		return record{}, cleanup.Permanent(fmt.Errorf("no primary IP address of %s %d with %s is an address of the node, so it may be another machine (option matchAddress)", p.noun(), found.ID, p.condition(value)))
	}
	return found, nil
}

// CheckHealth implements cleanup.HealthChecker: NetBox accepts the token, which may read records, and has the custom
// field. It does not prove that the token may change them, because no request proves that without a change.
func (p *plugin) CheckHealth(ctx context.Context) error {
	var status struct {
		Version string `json:"netbox-version"`
	}
	if err := p.api.Call(ctx, http.MethodGet, "api/status/", nil, &status); err != nil {
		return err
	}
	if status.Version == "" {
		return errors.New("GET api/status/: the answer is not from NetBox; check the option url")
	}
	var first list
	if err := p.api.Call(ctx, http.MethodGet, p.path()+"?limit=1&exclude=config_context", nil, &first); err != nil {
		return err
	}
	if len(first.Results) > 0 && p.lacksCustomField(first.Results[0]) {
		return fmt.Errorf("NetBox has no custom field of %ss for the option field, %s", p.noun(), p.Field)
	}
	return nil
}

// Preview implements cleanup.Previewer. Only the agent asks NetBox.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	effect := cleanup.Effect{
		Action: cleanup.Action(p.Action), Object: cleanup.Object{Kind: "NetBox" + p.Kind, Name: p.Value.Preview(target)}, Reason: "found by " + p.Field,
	}
	if p.Action == actionSetStatus {
		effect.Reason = fmt.Sprintf("to %s, found by %s", p.Status, p.Field)
	}
	effects := []cleanup.Effect{effect}
	if p.api.Client == nil || httpclient.IsOffline(p.api.Client) {
		return effects, nil
	}
	reported := cleanup.Effect{Action: cleanup.Action(p.Action), ReportedBy: "NetBox"}
	found, err := p.find(ctx, target)
	switch {
	case errors.Is(err, errNotFound):
		reported.Action, reported.Reason = cleanup.Skip, err.Error()
	case err != nil:
		return nil, err
	default:
		reported.Object = cleanup.Object{Kind: "NetBox" + p.Kind, Name: fmt.Sprintf("%s (id %d)", found.Name, found.ID)}
		reported.Reason = "its status is " + found.Status.Value
		if p.Action == actionSetStatus && found.Status.Value == p.Status {
			reported.Action = cleanup.Skip
		}
	}
	return append(effects, reported), nil
}
