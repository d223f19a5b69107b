// Package portworx is the plugin that removes a Node from a Portworx cluster.
//
// It is experimental: no Portworx is available to the tests. It follows
// https://docs.portworx.com/portworx-enterprise/platform/uninstall/decommission-a-node (3.6 and 3.7), and reads
// what the open source parts of Portworx publish: https://github.com/libopenstorage/openstorage (the SDK) and
// https://github.com/libopenstorage/operator.
package portworx

import (
	"cmp"
	_ "embed"
	"fmt"
	"net/http"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/job"
)

//go:embed schema.json
var schema []byte

type options struct {
	// Namespace is the namespace of the StorageCluster. The list `jobs` of the config must contain it.
	Namespace string `json:"namespace"`
	// ServiceAccountName is the ServiceAccount of the Job. It needs no rights. The list `jobs` of the config must
	// contain it.
	ServiceAccountName string `json:"serviceAccountName"`
	// Image is an image with the command `nsenter`, such as busybox. The Job runs `pxctl` of the host with it.
	Image string `json:"image" jsonschema:"required"`
	// URL is the root of the REST gateway of Portworx's SDK, without `/v1`. Its default is
	// `http://portworx-api.NAMESPACE.svc:9021`, the Service that Portworx's operator creates.
	URL string `json:"url"`
	// Token authorizes the agent at the REST gateway, in a Secret in the agent's namespace. It is needed if
	// PX-Security is enabled, and must be able to see all volumes.
	Token cleanup.Value `json:"token"`
	// CABundle is the CAs in PEM that verify the gateway's certificate. Without it, the CAs of the system verify it.
	CABundle cleanup.Value `json:"caBundle"`
	// TokenSecret is the name of a Secret in `namespace` that authorizes `pxctl` if PX-Security is enabled, under the
	// key `auth-token`. The agent does not read it; the Pod of the Job does.
	TokenSecret string `json:"tokenSecret"`
	// SameZone runs `pxctl` on a Node in the zone of the removed Node, if its label names one. Portworx demands
	// that for cloud platforms.
	SameZone bool `json:"sameZone"`
}

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if problems := validation.IsDNS1123Label(o.Namespace); len(problems) > 0 {
		fault("namespace", "%q is not a valid name of a namespace: %s", o.Namespace, problems[0])
	}
	if problems := validation.IsDNS1123Subdomain(o.ServiceAccountName); len(problems) > 0 {
		fault("serviceAccountName", "%q is not a valid name of a ServiceAccount: %s", o.ServiceAccountName, problems[0])
	}
	if o.TokenSecret != "" {
		if problems := validation.IsDNS1123Subdomain(o.TokenSecret); len(problems) > 0 {
			fault("tokenSecret", "%q is not a valid name of a Secret: %s", o.TokenSecret, problems[0])
		}
	}
	switch {
	case strings.TrimSpace(o.Image) == "":
		fault("image", "must not be empty")
	case strings.Contains(o.Image, "${"):
		fault("image", "cannot contain references")
	}
	o.URL = cmp.Or(o.URL, "http://portworx-api."+o.Namespace+".svc:9021")
	if parsed, err := httpclient.ParseURL(o.URL); err != nil {
		fault("url", "%v", err)
	} else if parsed.User != nil || parsed.RawQuery != "" || strings.Contains(parsed.Path+"/", "/v1/") {
		fault("url", "must be the root of the REST gateway, without /v1, a user and a query")
	}
	if problem := httpclient.SecretProblem(o.Token); problem != "" {
		fault("token", "%s", problem)
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", "%s", problem)
	}
	return faults
}

// Descriptor describes the plugin. The namespace is that of the agent, in which no Job may run. It is empty if it is
// not known.
func Descriptor(kubernetes kubernetes.Interface, client *http.Client, secrets cleanup.Secrets, clock clock.WithTicker, namespace string) cleanup.Descriptor {
	defaults := options{Namespace: "portworx", ServiceAccountName: "default", SameZone: true}
	return cleanup.Descriptor{
		Name:           "portworx",
		Summary:        "removes the node from its Portworx cluster (experimental)",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 6 * time.Hour},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			if err := job.CheckNamespace(o.Namespace, namespace); err != nil {
				return nil, err
			}
			p := &plugin{options: o, kubernetes: kubernetes, sdk: newSDK(o, client, secrets), clock: clock, agent: namespace}
			runner, err := p.runs("", "")
			if err != nil {
				return nil, err
			}
			p.jobRules = runner.NamespaceRules()[o.Namespace]
			return p, nil
		}),
	}
}

type plugin struct {
	options
	kubernetes kubernetes.Interface
	sdk        sdk
	clock      clock.WithTicker
	// agent is the namespace of the agent, empty if it is not known.
	agent string
	// jobRules are the rights for the Job, in the namespace of the options.
	jobRules []rbacv1.PolicyRule
}

// RunsPods implements cleanup.PodRunner.
func (p *plugin) RunsPods() cleanup.PodRun {
	return cleanup.PodRun{Namespace: p.Namespace, ServiceAccountName: p.ServiceAccountName}
}
