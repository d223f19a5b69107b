package nodeaddress

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestIPs(t *testing.T) {
	node := &corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "10.0.0.1"}, {Type: corev1.NodeInternalDNS, Address: "w1.example.com"},
		{Type: corev1.NodeInternalIP, Address: "::ffff:10.0.0.7"}, {Type: corev1.NodeExternalIP, Address: "10.0.0.7"},
		{Type: corev1.NodeInternalIP, Address: "2001:DB8::7"}, {Type: corev1.NodeInternalIP, Address: "fe80::7%eth0"},
		{Type: corev1.NodeInternalIP, Address: ""},
	}}}
	if got := fmt.Sprint(IPs(node)); got != "[10.0.0.7 2001:db8::7 fe80::7%eth0]" {
		t.Errorf("got %s", got)
	}
	for text, want := range map[string]bool{
		"10.0.0.7": true, "::ffff:10.0.0.7": true, "2001:db8:0:0::7": true, "fe80::7%eth0": true,
		"10.0.0.1": false, "w1.example.com": false, "fe80::7": false, "fe80::7%eth1": false, "": false, "10.0.0.7/24": false,
	} {
		if Has(node, text) != want {
			t.Errorf("%q: got %v", text, !want)
		}
	}
}
