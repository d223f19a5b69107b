package portworx

import "fmt"

// The labels of a Node that Portworx's Pod there reacts to, and their values.
const (
	labelService = "px/service"
	labelEnabled = "px/enabled"

	serviceStop   = "stop"
	serviceStart  = "start"
	enabledRemove = "remove"
	enabledFalse  = "false"
)

// state is what is observed about a Node and its node in the Portworx cluster.
type state struct {
	// hostReady is the condition Ready of the Node. The host of any other Node cannot react to labels.
	hostReady        bool
	service, enabled string
	// status is that of the node in the Portworx cluster.
	status string
	// kvdb: the node is a member of the internal KVDB.
	kvdb bool
	holding
}

// off reports whether a label says that Portworx is removed from the host, or may not run there. Portworx itself replaces
// remove by false.
func off(enabled string) bool { return enabled == enabledRemove || enabled == enabledFalse }

// leaving reports whether the labels of a Node say that Portworx stops there.
func leaving(service, enabled string) bool { return service == serviceStop || off(enabled) }

// step is what to do next.
type step struct {
	// label and value are a label to set.
	label, value string
	// remove: the node can be removed from the Portworx cluster.
	remove bool
	// wait describes what to wait for, and is the progress of every step.
	wait string
}

// next decides. Nothing happens while the node has the last copy of a volume. The order is that of Portworx's
// documentation: the volumes are clean, the KVDB has failed over, Portworx is off on the node, the node is removed.
func next(s state) step {
	down := !s.hostReady || off(s.enabled)
	const failover = "waiting for another node to replace the node in the KVDB"
	switch {
	case s.status == statusDecommissioned:
		return step{wait: "Portworx removes the node"}
	case len(s.last) > 0:
		return step{wait: fmt.Sprintf("the node has the last copy of %d volumes: %s", len(s.last), join(s.last))}
	case down && s.status != statusOffline:
		return step{wait: "waiting for Portworx to stop on the node: its status is " + s.status}
	case down && s.kvdb:
		return step{wait: failover}
	case down:
		return step{remove: true, wait: "removing the node from the Portworx cluster"}
	case s.kvdb && s.service == serviceStop:
		return step{wait: failover}
	case s.service == serviceStop:
		return step{label: labelService, value: serviceStart, wait: "starting Portworx again, because the node has left the KVDB"}
	case s.status != statusOK:
		return step{wait: "waiting for Portworx to run on the node: its status is " + s.status}
	case len(s.unclean) > 0:
		return step{wait: fmt.Sprintf("waiting for %d volumes to become clean: %s", len(s.unclean), join(s.unclean))}
	case s.kvdb:
		return step{label: labelService, value: serviceStop, wait: "stopping Portworx, so that another node replaces the node in the KVDB"}
	default:
		return step{label: labelEnabled, value: enabledRemove, wait: "removing Portworx from the host"}
	}
}
