package servicenow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

type plugin struct {
	options
	api *httpclient.API
	// oauth is nil with other credentials.
	oauth *httpclient.ClientCredentials
}

func newPlugin(o options, client *http.Client, secrets cleanup.Secrets) *plugin {
	p := &plugin{options: o}
	p.api, p.oauth = newAPI(o, client, secrets)
	return p
}

// The outputs.
const (
	numberOutput = "number"
	sysIDOutput  = "sys_id"
)

// OutputNames implements cleanup.OutputNamer.
func (p *plugin) OutputNames() []string { return []string{numberOutput, sysIDOutput} }

// The values of correlation_display.
const (
	displayOpen     = "nodecleanup"
	displayCanceled = "nodecleanup: canceled"
)

// correlationID returns the correlation_id of the record of a Node. It has at most 100 characters, the limit of the field.
func (p *plugin) correlationID(target cleanup.Target) (string, error) {
	uid := string(target.Node.UID)
	if len(uid) > 47 || uid == "" || strings.ContainsFunc(uid, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') }) {
		return "", cleanup.Permanent(errors.New("the UID of the Node has a character that a query of ServiceNow cannot contain"))
	}
	return "nodecleanup:" + uid + ":" + p.Correlation, nil
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	correlation, current, closed, err := p.lookUp(ctx, target)
	if err != nil {
		return err
	}
	switch p.Action {
	case actionOpen:
		return p.open(ctx, target, correlation, current, closed)
	case actionUpdate:
		return p.update(ctx, target, current, closed)
	}
	return p.close(ctx, target, current)
}

// lookUp returns the correlation_id of the record of a Node, and what current returns of the records that have it.
func (p *plugin) lookUp(ctx context.Context, target cleanup.Target) (correlation string, current *record, closed []record, err error) {
	if correlation, err = p.correlationID(target); err != nil {
		return "", nil, nil, err
	}
	found, err := p.find(ctx, correlation)
	if err != nil {
		return "", nil, nil, err
	}
	current, closed, err = p.current(found)
	return correlation, current, closed, err
}

// current returns the record that is not closed, or nil, and the closed ones. Several records that are not closed are an error:
// correlation_id is not unique, and no rule tells which one is right.
func (p *plugin) current(found []record) (current *record, closed []record, err error) {
	var numbers []string
	for i, r := range found {
		if p.isClosed(r) {
			closed = append(closed, r)
			continue
		}
		numbers = append(numbers, r.number())
		current = &found[i]
	}
	if len(numbers) > 1 {
		return nil, nil, cleanup.Permanent(fmt.Errorf("there are %d records of this node and correlation: %s. Close all but one, then retry", len(numbers), strings.Join(numbers, ", ")))
	}
	return current, closed, nil
}

func (p *plugin) isClosed(r record) bool {
	state, known := r.state()
	return r.Active == "false" || known && slices.Contains(p.closedStates(), state)
}

// open creates a record, unless there is one.
func (p *plugin) open(ctx context.Context, target cleanup.Target, correlation string, current *record, closed []record) error {
	mine := func(r record) bool { return string(r.SysID) == target.Outputs[target.Step][sysIDOutput] }
	if i := slices.IndexFunc(closed, mine); current == nil && i >= 0 {
		target.Log.Info("the record that an earlier attempt opened is closed", "number", closed[i].number())
		return nil
	}
	if current == nil {
		fields, err := p.newFields(target, correlation)
		if err != nil {
			return err
		}
		created, err := p.create(ctx, fields)
		if err != nil {
			return err
		}
		current = &created
	}
	// Before the states: a failure must not hide which record it is about.
	if err := p.record(target, *current); err != nil {
		return err
	}
	if current.Display == displayCanceled {
		again, err := p.patch(ctx, *current, map[string]string{"correlation_display": displayOpen, "work_notes": "Another cleanup of node " + target.Node.Name + " has begun."})
		if err != nil {
			return err
		}
		current = &again
	}
	_, err := p.move(ctx, *current, p.states(), nil)
	return err
}

func (p *plugin) newFields(target cleanup.Target, correlation string) (map[string]string, error) {
	fields, err := p.expanded(target)
	if err != nil {
		return nil, err
	}
	if _, set := fields["short_description"]; !set && p.ChangeType != standard {
		fields["short_description"] = "Cleanup of node " + target.Node.Name
	}
	fields["correlation_id"], fields["correlation_display"] = correlation, displayOpen
	return fields, nil
}

// update sets fields of the open record.
func (p *plugin) update(ctx context.Context, target cleanup.Target, current *record, closed []record) error {
	switch {
	case current == nil && len(closed) > 0:
		return cleanup.Permanent(fmt.Errorf("updating %s: it is closed", closed[0].number()))
	case current == nil:
		return cleanup.Permanent(fmt.Errorf("updating the %s: none has the correlation %s. Add a step with action open before this one", p.Record, p.Correlation))
	}
	fields, err := p.expanded(target)
	if err != nil {
		return err
	}
	if _, err := p.move(ctx, *current, p.states(), fields); err != nil {
		return err
	}
	return p.record(target, *current)
}

// close closes the open record. No record to close is a success.
func (p *plugin) close(ctx context.Context, target cleanup.Target, current *record) error {
	if current == nil {
		target.Log.Info("nothing to close: no record of this node and correlation is open", "record", p.Record)
		return nil
	}
	fields, err := p.expanded(target)
	if err != nil {
		return err
	}
	fields["close_code"], fields["close_notes"] = p.CloseCode, "Node "+target.Node.Name+" was cleaned up"
	if !p.CloseNotes.Empty() {
		if fields["close_notes"], err = p.CloseNotes.Expand(target, escape); err != nil {
			return err
		}
	}
	if err := p.record(target, *current); err != nil {
		return err
	}
	_, err = p.move(ctx, *current, p.states(), fields)
	return err
}

// record records the outputs.
func (p *plugin) record(target cleanup.Target, r record) error {
	return errors.Join(target.Output(numberOutput, r.number()), target.Output(sysIDOutput, string(r.SysID)))
}

func (p *plugin) expanded(target cleanup.Target) (map[string]string, error) {
	fields := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(p.Fields)) {
		text, err := p.Fields[name].Expand(target, escape)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		fields[name] = text
	}
	return fields, nil
}

// codeTag is the markup that makes ServiceNow show the text of a journal field, such as work_notes, as HTML.
var codeTag = regexp.MustCompile(`(?i)\[(/?code)`)

// escape makes markup in a value visible instead of effective. A kubelet can write labels and annotations.
func escape(text string) string { return codeTag.ReplaceAllString(text, "[ $1") }

// Withdraw implements cleanup.Withdrawer: it notes in the open record that the cleanup was canceled. The record stays open,
// because closing it is a decision about the work that remains; the next cleanup of the Node uses it again. A failure
// is only logged: an error would keep the Node cordoned until ServiceNow works again.
func (p *plugin) Withdraw(ctx context.Context, target cleanup.Target) error {
	if p.Action != actionOpen {
		return nil
	}
	if err := p.withdraw(ctx, target); err != nil {
		target.Log.Warn("the record of the canceled cleanup has no note about that", "error", err)
	}
	return nil
}

func (p *plugin) withdraw(ctx context.Context, target cleanup.Target) error {
	_, current, _, err := p.lookUp(ctx, target)
	if err != nil || current == nil || current.Display == displayCanceled {
		return err
	}
	_, err = p.patch(ctx, *current, map[string]string{
		"correlation_display": displayCanceled,
		"work_notes":          "The cleanup of node " + target.Node.Name + " was canceled. The node is not deleted.",
	})
	return err
}

// CheckHealth implements cleanup.HealthChecker. It reads one record, which does not prove the right to write.
func (p *plugin) CheckHealth(ctx context.Context) error {
	var answer struct {
		Result []record `json:"result"`
	}
	query := url.Values{"sysparm_fields": {"sys_id"}, "sysparm_limit": {"1"}}
	if err := p.call(ctx, http.MethodGet, tablePath+p.table()+"?"+query.Encode(), nil, &answer); err != nil {
		return fmt.Errorf("reading a record: %w", err)
	}
	return nil
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(_ context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	effect := cleanup.Effect{Object: cleanup.Object{Kind: "Incident", Name: p.Correlation}}
	if p.Record == change {
		effect.Object.Kind = "ChangeRequest"
	}
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(p.Fields)) {
		fields = append(fields, name+": "+p.Fields[name].Preview(target))
	}
	switch p.Action {
	case actionOpen:
		effect.Action, effect.Reason = "Open", "in ServiceNow, unless the node has an open one"
	case actionUpdate:
		effect.Action, effect.Reason = "Update", "the open one of the node in ServiceNow"
	default:
		effect.Action, effect.Reason = "Close", "the open one of the node in ServiceNow, if there is one, with close code "+p.CloseCode
	}
	if len(fields) > 0 {
		effect.Reason += "; " + strings.Join(fields, ", ")
	}
	return []cleanup.Effect{effect}, nil
}
