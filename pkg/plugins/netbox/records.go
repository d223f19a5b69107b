package netbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/nodeaddress"
)

// record is a device or a virtual machine, with the fields of both that the plugin needs.
type record struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	Serial   string `json:"serial"`
	AssetTag string `json:"asset_tag"`
	Status   struct {
		Value string `json:"value"`
	} `json:"status"`
	Site struct {
		Slug string `json:"slug"`
	} `json:"site"`
	Cluster struct {
		Name string `json:"name"`
	} `json:"cluster"`
	PrimaryIP4   address                    `json:"primary_ip4"`
	PrimaryIP6   address                    `json:"primary_ip6"`
	CustomFields map[string]json.RawMessage `json:"custom_fields"`
}

// address is an IP address with the length of its prefix, such as 10.0.0.7/24.
type address struct {
	Address string `json:"address"`
}

// list is a page of records.
type list struct {
	Count   int      `json:"count"`
	Results []record `json:"results"`
}

// pageSize is the maximum number of records that a search reads.
const pageSize = 50

func newAPI(o options, client *http.Client, secrets cleanup.Secrets) *httpclient.API {
	return &httpclient.API{
		System: "NetBox", URL: o.URL, Client: client, Credentials: credentials(o.Token, secrets), Secrets: secrets,
		TLS: httpclient.TLS{CABundle: o.CABundle}, Message: message,
	}
}

// credentials sends a token in the header of its version:
// https://netboxlabs.com/docs/netbox/integrations/rest-api/#authentication.
func credentials(token cleanup.Value, secrets cleanup.Secrets) httpclient.Credentials {
	return func(ctx context.Context) (http.Header, []string, error) {
		text, err := httpclient.Resolve(ctx, secrets, token)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the token: %w", err)
		}
		scheme := "Token "
		if strings.HasPrefix(text, "nbt_") {
			scheme = "Bearer "
		}
		return httpclient.Header(secrets, "Authorization", scheme, cleanup.Literal(text))(ctx)
	}
}

// message returns the text of an error of NetBox, {"detail": "…"}. It returns "" for messages by field.
func message(answer []byte) string {
	var document struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(answer, &document) != nil {
		return ""
	}
	return document.Detail
}

// path returns the path of the records of the kind. Without its last slash, NetBox answers a GET with a redirect, and
// a change with 404, as if the record did not exist (https://github.com/netbox-community/netbox/issues/21906).
func (o *options) path() string {
	if o.Kind == kindMachine {
		return "api/virtualization/virtual-machines/"
	}
	return "api/dcim/devices/"
}

func (o *options) recordPath(id int) string { return o.path() + strconv.Itoa(id) + "/" }

// noun returns the kind as it is written in a sentence.
func (o *options) noun() string {
	if o.Kind == kindMachine {
		return "virtual machine"
	}
	return "device"
}

// condition describes what a record must match.
func (o *options) condition(value string) string {
	text := fmt.Sprintf("%s %q", o.Field, value)
	if o.Site != "" {
		text += fmt.Sprintf(" in site %q", o.Site)
	}
	if o.Cluster != "" {
		text += fmt.Sprintf(" in cluster %q", o.Cluster)
	}
	return text
}

// query returns the filters of a search.
func (o *options) query(value string) string {
	query := url.Values{"limit": {strconv.Itoa(pageSize)}, "exclude": {"config_context"}}
	switch o.Field {
	case "name", "asset_tag": // Without __ie, letter case matters.
		query.Set(o.Field+"__ie", value)
	default:
		query.Set(o.Field, value)
	}
	if o.Site != "" {
		query.Set("site", o.Site)
	}
	if o.Cluster != "" {
		query.Set("cluster", o.Cluster)
	}
	return "?" + query.Encode()
}

// matches reports whether a record is the wanted one. NetBox may return others: it ignores a filter that it does not
// know (https://github.com/netbox-community/netbox/issues/21858), and by default a filter for a custom field finds
// every value that contains the text (https://github.com/netbox-community/netbox/issues/19915).
func (o *options) matches(r record, value string) bool {
	if o.Site != "" && r.Site.Slug != o.Site || o.Cluster != "" && r.Cluster.Name != o.Cluster {
		return false
	}
	switch o.Field {
	case "name":
		return strings.EqualFold(r.Name, value)
	case "serial":
		return strings.EqualFold(r.Serial, value)
	case "asset_tag":
		return strings.EqualFold(r.AssetTag, value)
	}
	return plain(r.CustomFields[strings.TrimPrefix(o.Field, customPrefix)]) == value
}

// plain returns a JSON string without its quotes, and any other JSON value as it is.
func plain(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}

// errNotFound: NetBox has no such record.
var errNotFound = errors.New("not found")

// search returns the one record with the value. The error is errNotFound if there is none, and permanent if there are
// several.
func (p *plugin) search(ctx context.Context, value string) (record, error) {
	var found list
	if err := p.api.Call(ctx, http.MethodGet, p.path()+p.query(value), nil, &found); err != nil {
		return record{}, err
	}
	return p.choose(found, value)
}

// choose returns the one record of a search that matches.
func (o *options) choose(found list, value string) (record, error) {
	var matching []record
	for _, one := range found.Results {
		if o.matches(one, value) {
			matching = append(matching, one)
		}
	}
	switch {
	case len(found.Results) > 0 && o.lacksCustomField(found.Results[0]):
		return record{}, cleanup.Permanent(fmt.Errorf("NetBox has no custom field %s of %ss", strings.TrimPrefix(o.Field, customPrefix), o.noun()))
	case found.Count > len(found.Results):
		return record{}, cleanup.Permanent(fmt.Errorf("NetBox returns %d %ss for %s, more than %d: use a field that identifies one", found.Count, o.noun(), o.condition(value), pageSize))
	case len(matching) > 1:
		return record{}, cleanup.Permanent(fmt.Errorf("NetBox has %d %ss with %s: use a field that identifies one, or set site or cluster", len(matching), o.noun(), o.condition(value)))
	case len(matching) == 1:
		return matching[0], nil
	}
	return record{}, fmt.Errorf("NetBox has no %s with %s: %w", o.noun(), o.condition(value), errNotFound)
}

// lacksCustomField reports whether the field of the search is a custom field that the record does not have. NetBox
// returns all custom fields of a kind, also those without a value.
func (o *options) lacksCustomField(r record) bool {
	name, custom := strings.CutPrefix(o.Field, customPrefix)
	_, has := r.CustomFields[name]
	return custom && !has
}

// hasAddressOf reports whether a primary IP address of the record is an address of the Node.
func (r record) hasAddressOf(node *corev1.Node) bool {
	for _, primary := range []address{r.PrimaryIP4, r.PrimaryIP6} {
		if prefix, err := netip.ParsePrefix(primary.Address); err == nil && nodeaddress.Has(node, prefix.Addr().String()) {
			return true
		}
	}
	return false
}
