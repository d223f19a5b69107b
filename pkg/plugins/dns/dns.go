package dns

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// server is a DNS server, or its API.
type server interface {
	// records returns the records of a name that have one of the types.
	records(ctx context.Context, zone, name string, types []string) ([]record, error)
	// remove removes the given records of one name, and no others. A record that does not exist is no error.
	remove(ctx context.Context, zone string, records []record) error
	// check returns an error if the server does not serve the zone, or does not accept the credentials.
	check(ctx context.Context, zone string) error
}

type plugin struct {
	options
	server server
	// online is false in a program that calls no other system.
	online bool
}

// found are the records of one name.
type found struct {
	zone string
	// own belong to the Node, and others do not.
	own, others []record
}

// Cleanup implements cleanup.Plugin. It removes only records with an address of the Node, because another machine can
// have the name by now. The server compares the content again, or it is compared immediately before the change.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	all, err := p.find(ctx, target)
	if err != nil {
		return err
	}
	for _, one := range all {
		if len(one.others) > 0 {
			target.Log.Info("records with other content remain", "zone", one.zone, "records", join(one.others))
		}
		if len(one.own) == 0 {
			continue
		}
		if err := p.server.remove(ctx, one.zone, one.own); err != nil {
			return fmt.Errorf("removing %s: %w", join(one.own), err)
		}
		target.Log.Info("removed records", "zone", one.zone, "records", join(one.own))
	}
	return nil
}

// find returns the records of the Node, and those of others with the same names.
func (p *plugin) find(ctx context.Context, target cleanup.Target) ([]found, error) {
	name, err := p.name(target)
	if err != nil {
		return nil, err
	}
	wanted, err := lookups(target.Node, p.Zone, name, p.ReverseZones)
	if err != nil {
		return nil, cleanup.Permanent(err)
	}
	var all []found
	for _, one := range wanted {
		records, err := p.server.records(ctx, one.Zone, one.Name, one.types())
		if err != nil {
			return nil, fmt.Errorf("looking up %s: %w", one.Name, err)
		}
		result := found{zone: one.Zone}
		for _, record := range records {
			if slices.Contains(one.Own, record) {
				result.own = append(result.own, record)
			} else {
				result.others = append(result.others, record)
			}
		}
		all = append(all, result)
	}
	return all, nil
}

func (p *plugin) name(target cleanup.Target) (string, error) {
	text, err := p.Name.Expand(target, nil)
	if err != nil {
		return "", err
	}
	name, err := nameIn(text, p.Zone)
	if err != nil {
		return "", cleanup.Permanent(fmt.Errorf("option name: %w", err))
	}
	return name, nil
}

// Verify implements cleanup.Verifier: nothing has registered the records again.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	all, err := p.find(ctx, target)
	if err != nil {
		return "", err
	}
	var records []record
	for _, one := range all {
		records = append(records, one.own...)
	}
	if len(records) == 0 {
		return "", nil
	}
	return "records exist: " + join(records), nil
}

// CheckHealth implements cleanup.HealthChecker: the server serves each zone and accepts the credentials. It does not
// prove that they allow a change, because only a change shows that.
func (p *plugin) CheckHealth(ctx context.Context) error {
	for _, zone := range append([]string{p.Zone}, p.ReverseZones...) {
		if err := p.server.check(ctx, zone); err != nil {
			return fmt.Errorf("checking zone %s: %w", zone, err)
		}
	}
	return nil
}

// Preview implements cleanup.Previewer. Only the agent asks the server.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	const action, kind = cleanup.Action("Remove"), "DNSRecord"
	effects := []cleanup.Effect{{
		Action: action, Object: cleanup.Object{Kind: "DNSName", Name: p.Name.Preview(target)}, Reason: "address records in zone " + p.Zone + " with an address of the node",
	}}
	if len(p.ReverseZones) > 0 {
		effects = append(effects, cleanup.Effect{
			Action: action, Object: cleanup.Object{Kind: "DNSZone", Name: strings.Join(p.ReverseZones, ", ")}, Reason: "PTR records of the addresses of the node",
		})
	}
	if !p.online {
		return effects, nil
	}
	all, err := p.find(ctx, target)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		for _, record := range one.own {
			effects = append(effects, cleanup.Effect{Action: action, Object: cleanup.Object{Kind: kind, Name: record.String()}, ReportedBy: "DNS"})
		}
		for _, record := range one.others {
			effects = append(effects, cleanup.Effect{
				Action: cleanup.Skip, Object: cleanup.Object{Kind: kind, Name: record.String()}, Reason: "its content is not the node's", ReportedBy: "DNS",
			})
		}
	}
	return effects, nil
}

// join names at most five records.
func join(records []record) string {
	const most = 5
	var names []string
	for _, one := range records[:min(most, len(records))] {
		names = append(names, one.String())
	}
	text := strings.Join(names, ", ")
	if more := len(records) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
