package servicenow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// The paths of the Table API and of the Change Management API:
// https://www.servicenow.com/docs/r/api-reference/rest-apis/c_TableAPI.html and .../change-management-api.html.
const (
	tablePath  = "api/now/table/"
	changePath = "api/sn_chg_rest/change/"
	tokenPath  = "oauth_token.do"
)

// fieldsRead are the fields of a record that the plugin reads.
const fieldsRead = "sys_id,number,state,active,correlation_id,correlation_display"

// onlyFieldsRead limits the answer of the Table API. The Change Management API always returns all fields.
const onlyFieldsRead = "?sysparm_fields=" + fieldsRead

// maxRecords is the maximum number of records of one Node and correlation that are read.
const maxRecords = 50

// record is an incident or a change.
type record struct {
	SysID       value `json:"sys_id"`
	Number      value `json:"number"`
	State       value `json:"state"`
	Active      value `json:"active"`
	Correlation value `json:"correlation_id"`
	Display     value `json:"correlation_display"`
}

// value is the value of a field. The Table API returns a string, and the Change Management API an object whose value may be
// a number with a fraction, such as -1.0.
type value string

// UnmarshalJSON takes both forms.
func (v *value) UnmarshalJSON(data []byte) error {
	var object struct {
		Value json.RawMessage `json:"value"`
	}
	if len(data) > 0 && data[0] == '{' {
		if err := json.Unmarshal(data, &object); err != nil {
			return err
		}
		data = object.Value
	}
	var text string
	switch err := json.Unmarshal(data, &text); {
	case err == nil:
	case len(data) > 0 && data[0] != '{' && data[0] != '[':
		text = strings.TrimSuffix(string(data), ".0") // A number or a boolean.
	default:
		return errors.New("the value of a field is neither text nor a number")
	}
	*v = value(text)
	return nil
}

// state returns the value of the state. If it is not a number, it is in no list of states.
func (r record) state() (state int, known bool) {
	state, err := strconv.Atoi(string(r.State))
	return state, err == nil
}

func newAPI(o options, client *http.Client, secrets cleanup.Secrets) (*httpclient.API, *httpclient.ClientCredentials) {
	api := &httpclient.API{System: "ServiceNow", URL: o.URL, Client: client, Secrets: secrets, TLS: httpclient.TLS{CABundle: o.CABundle}, Message: message}
	switch {
	case o.Username != "":
		api.Credentials = httpclient.Basic(secrets, o.Username, o.Password)
	case o.ClientID != "":
		oauth := httpclient.NewClientCredentials(api, tokenPath, o.ClientID, o.ClientSecret)
		api.Credentials = oauth.Header
		return api, oauth
	default:
		api.Credentials = httpclient.Header(secrets, apiKeyHeader, "", o.APIKey)
	}
	return api, nil
}

// message returns the text of an error, or "". The detail says which access control list, data policy or business rule
// refuses the request.
func message(answer []byte) string {
	var failure struct {
		Error struct{ Message, Detail string } `json:"error"`
	}
	if json.Unmarshal(answer, &failure) != nil || failure.Error.Message == "" {
		return ""
	}
	return strings.TrimSuffix(failure.Error.Message+": "+failure.Error.Detail, ": ")
}

// call is API.Call. If ServiceNow refuses an access token that it has revoked, it tries again with a new one.
func (p *plugin) call(ctx context.Context, method, path string, document, answer any) error {
	err := p.api.Call(ctx, method, path, document, answer)
	if p.oauth != nil && httpclient.StatusCode(err) == http.StatusUnauthorized {
		p.oauth.Forget(ctx)
		err = p.api.Call(ctx, method, path, document, answer)
	}
	return err
}

func (p *plugin) table() string {
	if p.Record == change {
		return "change_request"
	}
	return incident
}

// find returns the records with that correlation ID, the newest first. By default, ServiceNow ignores a part of a query
// that it does not understand, or whose field the user may not read, and returns every record
// (glide.invalid_query.returns_no_rows). So a record that has another correlation ID is an error.
func (p *plugin) find(ctx context.Context, correlation string) ([]record, error) {
	var answer struct {
		Result []record `json:"result"`
	}
	query := url.Values{
		"sysparm_query":  {"correlation_id=" + correlation + "^ORDERBYDESCsys_created_on"},
		"sysparm_fields": {fieldsRead}, "sysparm_limit": {strconv.Itoa(maxRecords)}, "sysparm_display_value": {"false"},
	}
	if err := p.call(ctx, http.MethodGet, tablePath+p.table()+"?"+query.Encode(), nil, &answer); err != nil {
		return nil, fmt.Errorf("looking up the %s: %w", p.Record, err)
	}
	for _, found := range answer.Result {
		if string(found.Correlation) != correlation {
			return nil, cleanup.Permanent(fmt.Errorf("looking up the %s: ServiceNow returned %s, whose correlation_id is not %s. It ignores the query: allow the user to read the field correlation_id",
				p.Record, found.number(), correlation))
		}
		if err := found.check(); err != nil {
			return nil, fmt.Errorf("looking up the %s: %w", p.Record, err)
		}
	}
	return answer.Result, nil
}

// number returns the number of a record, for texts.
func (r record) number() string {
	if text := httpclient.OneLine(string(r.Number)); text != "" && len(text) <= 40 {
		return text
	}
	return "a record without a number"
}

// check returns an error if the record cannot be addressed.
func (r record) check() error {
	if !sysIDForm.MatchString(string(r.SysID)) {
		return fmt.Errorf("%s has no valid sys_id", r.number())
	}
	return nil
}

// create creates a record. A standard change takes only the fields that its template allows, so the correlation ID may have
// to be set afterwards.
func (p *plugin) create(ctx context.Context, fields map[string]string) (record, error) {
	path := tablePath + incident + onlyFieldsRead
	if p.Record == change {
		path = strings.TrimSuffix(changePath+p.ChangeType+"/"+p.Template, "/")
	}
	var answer struct {
		Result record `json:"result"`
	}
	err := p.call(ctx, http.MethodPost, path, fields, &answer)
	if err == nil {
		err = answer.Result.check()
	}
	if err != nil {
		return record{}, fmt.Errorf("creating the %s: %w", p.Record, err)
	}
	created, correlation := answer.Result, fields["correlation_id"]
	if string(created.Correlation) != correlation {
		if created, err = p.patch(ctx, created, map[string]string{"correlation_id": correlation}); err != nil {
			return record{}, err
		}
	}
	if string(created.Correlation) != correlation {
		// A retry would not find it, and create another one.
		return record{}, cleanup.Permanent(fmt.Errorf("%s was created, but ServiceNow did not store its correlation_id: allow the user to write this field, and close %s yourself", created.number(), created.number()))
	}
	return created, nil
}

// patch changes fields of a record, and returns the changed record.
func (p *plugin) patch(ctx context.Context, r record, fields map[string]string) (record, error) {
	path := tablePath + incident + "/" + string(r.SysID) + onlyFieldsRead
	if p.Record == change {
		path = changePath + string(r.SysID)
	}
	var answer struct {
		Result record `json:"result"`
	}
	err := p.call(ctx, http.MethodPatch, path, fields, &answer)
	if err == nil && answer.Result.SysID != r.SysID {
		err = errors.New("the answer is about another record")
	}
	if err != nil {
		return record{}, fmt.Errorf("changing %s: %w", r.number(), err)
	}
	return answer.Result, nil
}
