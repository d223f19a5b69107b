// Package nodeaddress has what plugins share that recognize a Node by its IP addresses in another system.
package nodeaddress

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// IPs returns the InternalIPs and ExternalIPs of a Node, each once, in the order of its status. An IPv4 address that is
// written as an IPv6 address, such as ::ffff:10.0.0.7, is an IPv4 address.
func IPs(node *corev1.Node) []netip.Addr {
	var all []netip.Addr
	for _, one := range node.Status.Addresses {
		if one.Type != corev1.NodeInternalIP && one.Type != corev1.NodeExternalIP {
			continue
		}
		if parsed, err := netip.ParseAddr(one.Address); err == nil && !slices.Contains(all, parsed.Unmap()) {
			all = append(all, parsed.Unmap())
		}
	}
	return all
}

// Has reports whether the text is one of the IPs of the Node, in any notation.
func Has(node *corev1.Node, text string) bool {
	parsed, err := netip.ParseAddr(text)
	return err == nil && slices.Contains(IPs(node), parsed.Unmap())
}
