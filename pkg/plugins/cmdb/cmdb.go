package cmdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

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
// after a deletion, another one can match.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	id, err := p.find(ctx, target)
	if err != nil {
		return err
	}
	before := target.Outputs[target.Step][idOutput]
	switch {
	case id == "" && before == "" && p.MustExist:
		return cleanup.Permanent(errors.New("the inventory has no record of the node (option mustExist)"))
	case id == "":
		target.Log.Info("the inventory has no record of the node")
		return nil
	case before != "" && id != before:
		target.Log.Info("the record was deleted, and another one matches now, which remains", "deleted", before, "remains", id)
		return nil
	}
	if err := target.Output(idOutput, id); err != nil {
		return err
	}
	path, body, err := p.change(target, id)
	if err != nil {
		return err
	}
	err = p.api.Call(ctx, p.Change.Method, path, body, nil)
	if status := httpclient.StatusCode(err); status == http.StatusNotFound || status == http.StatusGone {
		target.Log.Info("the record was deleted in the meantime", "id", id)
		return nil
	}
	return err
}

// find returns the ID of the record of the Node, "" if there is none.
func (p *plugin) find(ctx context.Context, target cleanup.Target) (id string, err error) {
	path, err := p.Lookup.Path.Expand(target, httpclient.PercentEncode)
	if err != nil {
		return "", err
	}
	match := map[string]string{}
	for pointer, template := range p.Lookup.Match {
		if match[pointer], err = template.Expand(target, nil); err != nil {
			return "", err
		}
		if match[pointer] == "" { // It would match records without the value.
			return "", cleanup.Permanent(fmt.Errorf("the value of lookup.match for %s is empty: %s", pointer, template))
		}
	}
	answer, err := p.get(ctx, path)
	if status := httpclient.StatusCode(err); status == http.StatusNotFound || status == http.StatusGone {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	records, err := candidates(answer, p.Lookup.Results)
	if err != nil {
		return "", cleanup.Permanent(err)
	}
	return choose(records, match, p.Lookup.ID)
}

// get returns the answer to a GET request. Numbers keep their form.
func (p *plugin) get(ctx context.Context, path string) (answer any, err error) {
	var raw json.RawMessage
	if err := p.api.Call(ctx, http.MethodGet, path, nil, &raw); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	return answer, decoder.Decode(&answer)
}

// change returns the path and the body of the change. A nil body sends none.
func (p *plugin) change(target cleanup.Target, id string) (path string, body any, err error) {
	path, err = p.Change.Path.Expand(target, httpclient.PercentEncode)
	if err != nil {
		return "", nil, err
	}
	path = strings.ReplaceAll(path, idPlaceholder, httpclient.PercentEncode(id))
	if p.Change.Body.Empty() {
		return path, nil, nil
	}
	text, err := p.Change.Body.Expand(target, httpclient.EscapeJSON)
	if err != nil {
		return "", nil, err
	}
	if !json.Valid([]byte(text)) {
		return "", nil, cleanup.Permanent(errors.New("expanding change.body: the result is not valid JSON: put the references between quotes"))
	}
	return path, json.RawMessage(text), nil
}

// CheckHealth implements cleanup.HealthChecker: the inventory answers a lookup for a node that does not exist, with an
// answer of the expected form. It does not prove that the credentials allow a change.
func (p *plugin) CheckHealth(ctx context.Context) error {
	answer, err := p.get(ctx, httpclient.Sample(p.Lookup.Path))
	if status := httpclient.StatusCode(err); status == http.StatusNotFound || status == http.StatusGone {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = candidates(answer, p.Lookup.Results)
	return err
}

// Preview implements cleanup.Previewer. Only the agent asks the inventory.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	const kind = "InventoryRecord"
	effects := []cleanup.Effect{{
		Action: cleanup.Call, Object: cleanup.Object{Kind: cleanup.KindURL, Name: p.URL}, Reason: fmt.Sprintf("%s the record of node %s", p.Change.Method, target.Node.Name),
	}}
	if p.api.Client == nil || httpclient.IsOffline(p.api.Client) {
		return effects, nil
	}
	id, err := p.find(ctx, target)
	switch {
	case err != nil:
		return nil, err
	case id == "":
		return append(effects, cleanup.Effect{Action: cleanup.Skip, Reason: "the inventory has no record of the node", ReportedBy: "inventory"}), nil
	}
	return append(effects, cleanup.Effect{Action: cleanup.Call, Object: cleanup.Object{Kind: kind, Name: id}, Reason: p.Change.Method, ReportedBy: "inventory"}), nil
}
