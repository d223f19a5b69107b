// Package etcd is the plugin that removes the etcd member of a control plane Node from its cluster.
package etcd

import (
	_ "embed"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

//go:embed schema.json
var schema []byte

type options struct {
	// CABundle is the CAs in PEM that verify the certificates of etcd. kubeadm stores it in
	// `/etc/kubernetes/pki/etcd/ca.crt`.
	CABundle cleanup.Value `json:"caBundle" jsonschema:"required"`
	// Certificate is the client certificate in PEM.
	Certificate cleanup.Value `json:"certificate" jsonschema:"required"`
	// Key is the key of the client certificate in PEM, in a Secret.
	Key cleanup.Value `json:"key" jsonschema:"required"`
	// Endpoints are client URLs of etcd. Without them, the plugin uses port 2379 of the InternalIP of each control plane
	// Node.
	Endpoints []string `json:"endpoints"`
	// MemberName is the name of the member of a Node, as a template. kubeadm gives a member the name of its Node.
	MemberName cleanup.Template `json:"memberName"`
}

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, problem string) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: problem})
	}
	for path, value := range map[string]cleanup.Value{"caBundle": o.CABundle, "certificate": o.Certificate, "key": o.Key} {
		if value.Empty() {
			fault(path, "is required")
		}
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", problem)
	}
	if problem := o.Certificate.Problem(); problem != "" && !o.Certificate.Empty() {
		fault("certificate", problem)
	}
	if problem := httpclient.SecretProblem(o.Key); problem != "" {
		fault("key", problem)
	}
	for i, endpoint := range o.Endpoints {
		if root, err := httpclient.ParseURL(endpoint); err != nil {
			fault(fmt.Sprintf("endpoints[%d]", i), err.Error())
		} else if root.Scheme != "https" {
			fault(fmt.Sprintf("endpoints[%d]", i), "must start with https://")
		}
	}
	switch problem := o.MemberName.Problem(); {
	case problem != "":
		fault("memberName", problem)
	case o.MemberName.Empty():
		fault("memberName", "must not be empty")
	}
	return faults
}

// Descriptor describes the plugin. It sends requests with the given client, but follows no redirects.
func Descriptor(kubernetes kubernetes.Interface, client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	defaults := options{MemberName: cleanup.MustTemplate("${node.name}")}
	slot := make(chan struct{}, 1)
	return cleanup.Descriptor{
		Name:           "etcd",
		Summary:        "removes the etcd member of a control plane node from its cluster",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 5 * time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, kubernetes: kubernetes, client: client, secrets: secrets, slot: slot, apis: map[string]*httpclient.API{}}, nil
		}),
	}
}
