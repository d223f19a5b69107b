package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/nodeaddress"
)

// record is one record of a zone.
type record struct {
	// Name is absolute, in lower case.
	Name string
	// Type is A, AAAA or PTR.
	Type string
	// Content is an address without leading zeros, or an absolute name in lower case.
	Content string
}

// String returns the record as in a zone file, without class and TTL.
func (r record) String() string { return r.Name + " " + r.Type + " " + r.Content }

// lookup is what to look for: the records of a name that belong to a Node.
type lookup struct {
	Zone, Name string
	// Own are the records of the Node. The name can have others.
	Own []record
}

// types returns the types of the records.
func (l lookup) types() []string {
	var types []string
	for _, one := range l.Own {
		if !slices.Contains(types, one.Type) {
			types = append(types, one.Type)
		}
	}
	return types
}

// hostName is the form of names that the plugin accepts. No name needs quoting in a message of DNS or a URL.
var hostName = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+$`)

// absolute returns a name in lower case with a dot at its end.
func absolute(name string) (string, error) {
	full := strings.ToLower(strings.TrimSuffix(name, ".")) + "."
	if !hostName.MatchString(full) || len(full) > 254 {
		return "", fmt.Errorf("%q is not a valid domain name", name)
	}
	return full, nil
}

// inside reports whether an absolute name is below a zone or is its apex.
func inside(name, zone string) bool { return name == zone || strings.HasSuffix(name, "."+zone) }

// nameIn returns the absolute name of the records: one label in the zone, or a name below it. PowerDNS answers a change
// of a name outside the zone with success, so it is checked here.
func nameIn(name, zone string) (string, error) {
	full, err := absolute(name)
	if err != nil {
		return "", err
	}
	if strings.Count(full, ".") == 1 && !strings.HasSuffix(name, ".") {
		full += zone
	}
	if !inside(full, zone) || full == zone {
		return "", fmt.Errorf("name %q is not below zone %s", name, zone)
	}
	return full, nil
}

// errNoAddress: without addresses, no record can be recognized.
var errNoAddress = errors.New("the node has no IP address, so its records cannot be recognized")

// lookups returns what to look for: the address records of a name, and the PTR records of these addresses in the
// reverse zones.
func lookups(node *corev1.Node, zone, name string, reverseZones []string) ([]lookup, error) {
	forward := lookup{Zone: zone, Name: name}
	var all []lookup
	for _, address := range nodeaddress.IPs(node) {
		address = address.WithZone("")
		kind := "AAAA"
		if address.Is4() {
			kind = "A"
		}
		forward.Own = append(forward.Own, record{name, kind, address.String()})
		reverse := reverseName(address)
		if zone := longest(reverseZones, reverse); zone != "" {
			all = append(all, lookup{zone, reverse, []record{{reverse, "PTR", name}}})
		}
	}
	if len(forward.Own) == 0 {
		return nil, errNoAddress
	}
	return append([]lookup{forward}, all...), nil
}

// reverseName returns the absolute name of the PTR records of an address (RFC 1035, 3.5 and RFC 3596, 2.5).
func reverseName(address netip.Addr) string {
	var labels []string
	if address.Is4() {
		for _, one := range address.As4() {
			labels = append(labels, fmt.Sprint(one))
		}
		slices.Reverse(labels)
		return strings.Join(labels, ".") + ".in-addr.arpa."
	}
	for _, one := range address.As16() {
		labels = append(labels, fmt.Sprintf("%x", one>>4), fmt.Sprintf("%x", one&0xf))
	}
	slices.Reverse(labels)
	return strings.Join(labels, ".") + ".ip6.arpa."
}

// longest returns the zone that contains the name, the most specific one, or "".
func longest(zones []string, name string) string {
	found := ""
	for _, zone := range zones {
		if inside(name, zone) && len(zone) > len(found) {
			found = zone
		}
	}
	return found
}

// canonical returns the content of a record in the form of record.Content.
func canonical(kind, content string) string {
	if kind == "PTR" {
		return strings.ToLower(strings.TrimSuffix(content, ".")) + "."
	}
	if address, err := netip.ParseAddr(content); err == nil {
		return address.String()
	}
	return content
}
