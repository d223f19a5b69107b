package dns

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// powerDNS calls the HTTP API of the PowerDNS Authoritative Server:
// https://doc.powerdns.com/authoritative/http-api/zone.html.
type powerDNS struct {
	api *httpclient.API
	// root is the path of the server in the API.
	root string
}

func newPowerDNS(o powerDNSOptions, client *http.Client, secrets cleanup.Secrets) *powerDNS {
	return &powerDNS{
		root: "api/v1/servers/" + o.ServerID,
		api: &httpclient.API{
			System: "PowerDNS", URL: o.URL, Client: client, Credentials: httpclient.Header(secrets, "X-API-Key", "", o.APIKey),
			Secrets: secrets, TLS: httpclient.TLS{CABundle: o.CABundle},
		},
	}
}

// rrset are all records of one name and type.
type rrset struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	TTL        int             `json:"ttl,omitempty"`
	ChangeType string          `json:"changetype,omitempty"`
	Records    []contentRecord `json:"records,omitempty"`
}

type contentRecord struct {
	Content  string `json:"content"`
	Disabled bool   `json:"disabled"`
}

type zone struct {
	Kind   string  `json:"kind"`
	RRSets []rrset `json:"rrsets"`
}

// rrsets returns the sets of a name that have one of the types. They lack disabled records.
func (p *powerDNS) rrsets(ctx context.Context, zoneName, name string, types []string) ([]rrset, error) {
	var answer zone
	query := url.Values{"rrset_name": {name}}
	if err := p.api.Call(ctx, http.MethodGet, p.root+"/zones/"+zoneName+"?"+query.Encode(), nil, &answer); err != nil {
		return nil, err
	}
	// A version before 4.7 ignores the filter.
	return slices.DeleteFunc(answer.RRSets, func(one rrset) bool {
		return !strings.EqualFold(one.Name, name) || !slices.Contains(types, one.Type)
	}), nil
}

// records implements server.
func (p *powerDNS) records(ctx context.Context, zoneName, name string, types []string) ([]record, error) {
	sets, err := p.rrsets(ctx, zoneName, name, types)
	var all []record
	for _, set := range sets {
		for _, one := range set.Records {
			all = append(all, record{name, set.Type, canonical(set.Type, one.Content)})
		}
	}
	return all, err
}

// remove implements server. The API replaces or deletes only whole sets, so the plugin reads them immediately before,
// and keeps the other records of a set, also those that are disabled.
func (p *powerDNS) remove(ctx context.Context, zoneName string, records []record) error {
	name := records[0].Name
	sets, err := p.rrsets(ctx, zoneName, name, lookup{Own: records}.types())
	if err != nil {
		return err
	}
	disabled, err := p.disabled(ctx, zoneName, name)
	if err != nil {
		return err
	}
	var changes []rrset
	for _, set := range sets {
		kept := slices.DeleteFunc(slices.Clone(set.Records), func(one contentRecord) bool {
			return slices.Contains(records, record{name, set.Type, canonical(set.Type, one.Content)})
		})
		if len(kept) == len(set.Records) {
			continue
		}
		change := rrset{Name: set.Name, Type: set.Type, ChangeType: "DELETE"}
		if kept = append(kept, disabled[set.Type]...); len(kept) > 0 {
			change.ChangeType, change.TTL, change.Records = "REPLACE", set.TTL, kept
		}
		changes = append(changes, change)
	}
	if len(changes) == 0 {
		return nil
	}
	return p.api.Call(ctx, http.MethodPatch, p.root+"/zones/"+zoneName, map[string]any{"rrsets": changes}, nil)
}

// maxResults limits a search.
const maxResults = 1000

// disabled returns the disabled records of a name by type. A backend without disabled records finds none.
func (p *powerDNS) disabled(ctx context.Context, zoneName, name string) (map[string][]contentRecord, error) {
	var results []struct {
		contentRecord
		Name string `json:"name"`
		Type string `json:"type"`
		Zone string `json:"zone"`
	}
	query := url.Values{"q": {strings.TrimSuffix(name, ".")}, "object_type": {"record"}, "max": {fmt.Sprint(maxResults)}}
	if err := p.api.Call(ctx, http.MethodGet, p.root+"/search-data?"+query.Encode(), nil, &results); err != nil {
		return nil, err
	}
	if len(results) >= maxResults {
		return nil, cleanup.Permanent(fmt.Errorf("PowerDNS finds %d records of %s or more", maxResults, name))
	}
	disabled := map[string][]contentRecord{}
	for _, one := range results {
		if one.Disabled && strings.EqualFold(one.Name, name) && strings.EqualFold(one.Zone, zoneName) {
			disabled[one.Type] = append(disabled[one.Type], one.contentRecord)
		}
	}
	return disabled, nil
}

// check implements server.
func (p *powerDNS) check(ctx context.Context, zoneName string) error {
	var answer zone
	if err := p.api.Call(ctx, http.MethodGet, p.root+"/zones/"+zoneName+"?rrsets=false", nil, &answer); err != nil {
		return err
	}
	switch answer.Kind {
	case "":
		return errors.New("the answer is not from PowerDNS; check the option powerDNS.url")
	case "Slave", "Secondary", "Consumer":
		return fmt.Errorf("it is of kind %s, so its records come from another server", answer.Kind)
	}
	return nil
}
