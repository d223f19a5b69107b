package azurevirtualmachine

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// foreign returns why a virtual machine is not that of the Node, "" if nothing says so.
//
// A kubelet sets the provider ID of its Node, but not the name: its certificate does. So a Node whose provider ID
// names the machine of another Node is recognized by the name. The cloud provider of Azure requires that the name is
// the host name of the machine or, without a scale set, its name, see the source that providerID names.
//
// A later machine with the same name is recognized by the system UUID.
func foreign(node *corev1.Node, id ID, vm VM) string {
	if vm.ComputerName != "" && !isName(node.Name, vm.ComputerName) && !strings.EqualFold(node.Name, id.Name) {
		return fmt.Sprintf("its host name is %q, and the node is %s", vm.ComputerName, node.Name)
	}
	if system := node.Status.NodeInfo.SystemUUID; otherMachine(system, vm.VMID) {
		return fmt.Sprintf("its vmId is %s, and the system UUID of the node is %s", vm.VMID, system)
	}
	return ""
}

// isName reports whether a Node has the name of a host, with or without a domain.
func isName(node, host string) bool {
	first, _, _ := strings.Cut(node, ".")
	return strings.EqualFold(node, host) || strings.EqualFold(first, host)
}

// otherMachine reports whether a system UUID belongs to another machine than vmID. It is false if one of them is no
// UUID. Linux reads the UUID from the firmware. In machines of generation 1, the bytes of the first three groups are
// in the other order, see https://github.com/Azure/WALinuxAgent/issues/830 and byte_swap_system_uuid in
// https://github.com/canonical/cloud-init/blob/main/cloudinit/sources/azure/identity.py.
func otherMachine(system, vmID string) bool {
	a, b := bytesOf(system), bytesOf(vmID)
	if a == nil || b == nil || slices.Equal(a, b) {
		return false
	}
	for _, group := range [][]byte{a[:4], a[4:6], a[6:8]} {
		slices.Reverse(group)
	}
	return !slices.Equal(a, b)
}

// bytesOf returns the 16 bytes of a UUID, nil if the text is none or has no bit set, as that of a machine without a
// UUID.
func bytesOf(uuid string) []byte {
	bytes, err := hex.DecodeString(strings.ReplaceAll(strings.Trim(uuid, "{} "), "-", ""))
	if err != nil || len(bytes) != 16 || !slices.ContainsFunc(bytes, func(b byte) bool { return b != 0 }) {
		return nil
	}
	return bytes
}
