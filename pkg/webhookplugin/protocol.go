// Package webhookplugin is version 1 of the protocol between the agent's plugin webhook and an HTTPS
// service that does the work of a cleanup step. The service can be written in any language;
// docs/webhook-plugin.openapi.yaml is the same protocol as an OpenAPI document. For services in Go,
// Handler serves the protocol.
//
// Compatibility: version 1 only gains optional fields and abilities. A service ignores fields of a
// request that it does not know, and the agent ignores unknown fields of an answer. A change that a
// service of today cannot handle becomes version 2, with other paths.
package webhookplugin

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Version is the version of the protocol. The paths begin with it.
const Version = "v1"

// The paths, below the URL in the config. A GET of DiscoveryPath and HealthPath changes nothing.
// NotifyPath takes a POST with a Notification. The others take a POST with a Request.
const (
	DiscoveryPath = "/v1/"
	HealthPath    = "/v1/health"
	CleanupPath   = "/v1/cleanup"
	PreviewPath   = "/v1/preview"
	VerifyPath    = "/v1/verify"
	NotifyPath    = "/v1/notify"
)

const (
	// MaxRequest is the size of the largest request of an agent, in bytes.
	MaxRequest = 1 << 20
	// MaxAnswer is the size of the largest answer that an agent reads, in bytes.
	MaxAnswer = 64 << 10
	// MaxCallTimeout is the longest time that an agent waits for an answer. Work that takes longer is
	// answered with InProgress.
	MaxCallTimeout = 30 * time.Second
	// MinPollInterval and MaxPollInterval are the limits of RetryAfterSeconds while work is in
	// progress.
	MinPollInterval = time.Second
	MaxPollInterval = 5 * time.Minute
	// DefaultPollInterval applies if an answer has no RetryAfterSeconds.
	DefaultPollInterval = 5 * time.Second
)

// Ability is the name of an optional part of the protocol.
type Ability string

// The abilities of version 1. Every service has the first one.
const (
	AbilityCleanup Ability = "cleanup"
	AbilityPreview Ability = "preview"
	AbilityVerify  Ability = "verify"
	AbilityNotify  Ability = "notify"
)

// Discovery is the answer to a GET of DiscoveryPath.
type Discovery struct {
	// Versions of the protocol that the service has, such as "v1".
	Versions []string `json:"versions"`
	// Abilities of the service in version 1.
	Abilities []Ability `json:"abilities"`
	// Name of the service, for operators.
	Name string `json:"name"`
	// Version of the service, for operators.
	Version string `json:"version,omitempty"`
}

// Validate returns the fault of an answer, or nil.
func (d Discovery) Validate() error {
	if !slices.Contains(d.Versions, Version) {
		return fmt.Errorf("versions %.100q lacks %s", d.Versions, Version)
	}
	return nil
}

// Can reports whether the service has an ability.
func (d Discovery) Can(ability Ability) bool { return slices.Contains(d.Abilities, ability) }

// Request is the body of each POST but that of NotifyPath.
type Request struct {
	// IdempotencyKey is the same for every request about this step of this Node, also after a restart
	// of the agent, and for no other work. Requests with the same key can overlap.
	IdempotencyKey string `json:"idempotencyKey"`
	// Attempt counts the attempts of the agent, from 1. The requests of one attempt have the same
	// number.
	Attempt int `json:"attempt"`
	// Began is the start of the first attempt, by the API server's clock.
	Began time.Time `json:"began"`
	// Step is the name of the step in the config.
	Step string `json:"step"`
	// DeletedBy is the user who deleted the Node or requested its cleanup. It is missing if the user is
	// not known. "(unverified)" follows a name that another client could have written.
	DeletedBy string `json:"deletedBy,omitempty"`
	// Node is the Node as it was when the cleanup began or was resumed.
	Node Node `json:"node"`
	// Outputs are the outputs of the earlier steps and of this one, by step and name.
	Outputs map[string]map[string]string `json:"outputs"`
	// Params is the option params of the step, a JSON object.
	Params json.RawMessage `json:"params"`
}

// Node has the fields of a Node that identify and describe the machine.
type Node struct {
	Name string `json:"name"`
	// UID identifies the Node. Another Node can have the same name later.
	UID string `json:"uid"`
	// CreatedAt is when the Node was created, and DeletedAt when its deletion began. DeletedAt is
	// missing if the cleanup was requested for a Node that is not deleted.
	CreatedAt   time.Time         `json:"createdAt"`
	DeletedAt   *time.Time        `json:"deletedAt,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// ProviderID is the ID of the machine at its cloud provider.
	ProviderID    string    `json:"providerID,omitempty"`
	PodCIDRs      []string  `json:"podCIDRs,omitempty"`
	Unschedulable bool      `json:"unschedulable,omitempty"`
	Taints        []Taint   `json:"taints,omitempty"`
	Addresses     []Address `json:"addresses,omitempty"`
	// Info is what the kubelet reported about the machine.
	Info NodeInfo `json:"info"`
}

// Taint of a Node.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

// Address of a Node. Type is InternalIP, ExternalIP, Hostname, InternalDNS or ExternalDNS.
type Address struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// NodeInfo identifies the machine and its software. A field is missing if the kubelet did not report
// it.
type NodeInfo struct {
	MachineID       string `json:"machineID,omitempty"`
	SystemUUID      string `json:"systemUUID,omitempty"`
	BootID          string `json:"bootID,omitempty"`
	Architecture    string `json:"architecture,omitempty"`
	OperatingSystem string `json:"operatingSystem,omitempty"`
	OSImage         string `json:"osImage,omitempty"`
	KernelVersion   string `json:"kernelVersion,omitempty"`
	KubeletVersion  string `json:"kubeletVersion,omitempty"`
}
