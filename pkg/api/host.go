package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Host identifies one boot of one machine, as its kubelet reported it.
type Host struct {
	// BootID changes with every start of the operating system.
	BootID string `json:"bootID,omitempty"`
	// MachineID changes when the machine is reinstalled.
	MachineID string `json:"machineID,omitempty"`
	// SystemUUID changes with the hardware.
	SystemUUID string `json:"systemUUID,omitempty"`
}

// HostOf returns the host behind a Node, or nil if its kubelet has not reported one.
func HostOf(node *corev1.Node) *Host {
	info := node.Status.NodeInfo
	host := Host{BootID: info.BootID, MachineID: info.MachineID, SystemUUID: info.SystemUUID}
	if host == (Host{}) {
		return nil
	}
	return &host
}

// Changed reports whether both are known and differ.
func (h *Host) Changed(now *Host) bool { return h.Difference(now) != "" }

// Difference describes how two hosts differ, "" if they are equal. Unknown fields count as equal.
func (h *Host) Difference(now *Host) string {
	if h == nil || now == nil {
		return ""
	}
	var said []string
	for _, each := range []struct{ name, was, is string }{
		{"boot ID", h.BootID, now.BootID}, {"machine ID", h.MachineID, now.MachineID}, {"system UUID", h.SystemUUID, now.SystemUUID},
	} {
		if each.was != "" && each.is != "" && each.was != each.is {
			said = append(said, fmt.Sprintf("%s was %s and is %s", each.name, each.was, each.is))
		}
	}
	return strings.Join(said, ", ")
}
