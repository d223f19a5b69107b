// Package rookceph is the plugin that removes the OSDs of a Node from a Ceph cluster that Rook runs.
package rookceph

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/job"
)

//go:embed schema.json
var schema []byte

type options struct {
	// Namespace is the namespace of the CephCluster. The list `jobs` of the config must contain it.
	Namespace string `json:"namespace"`
	// ServiceAccountName is the ServiceAccount of the Jobs. It needs no rights. The list `jobs` of the config must
	// contain it.
	ServiceAccountName string `json:"serviceAccountName"`
	// Image is an image with the commands `ceph` and `python3`. Its default is the image of the Node's OSDs.
	Image string `json:"image"`
	// User is the Ceph user, without `client.`. The README has the command that creates it.
	User string `json:"user"`
	// KeySecret is the name of the Secret in `namespace` that holds the key of the user, under the key `key`. The
	// agent does not read it; the Pods of the Jobs do.
	KeySecret string `json:"keySecret"`
}

// userName is the form of the name of a user, without its type.
var userName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	check := func(path, value, what string, problems []string) {
		if len(problems) > 0 {
			faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf("%q is not a valid name of %s: %s", value, what, problems[0])})
		}
	}
	check("namespace", o.Namespace, "a namespace", validation.IsDNS1123Label(o.Namespace))
	check("serviceAccountName", o.ServiceAccountName, "a ServiceAccount", validation.IsDNS1123Subdomain(o.ServiceAccountName))
	check("keySecret", o.KeySecret, "a Secret", validation.IsDNS1123Subdomain(o.KeySecret))
	if strings.Contains(o.Image, "${") {
		faults = append(faults, cleanup.OptionError{Path: "image", Problem: "cannot contain references"})
	}
	if !userName.MatchString(o.User) {
		faults = append(faults, cleanup.OptionError{Path: "user", Problem: fmt.Sprintf("%q is not the name of a Ceph user without client.", o.User)})
	}
	return faults
}

// Descriptor describes the plugin. The namespace is that of the agent, in which no Job may run. It is empty if it
// is not known.
func Descriptor(client kubernetes.Interface, clock clock.WithTicker, namespace string) cleanup.Descriptor {
	defaults := options{Namespace: "rook-ceph", ServiceAccountName: "default", User: "nodecleanup", KeySecret: "nodecleanup-ceph"}
	return cleanup.Descriptor{
		Name:           "rook-ceph",
		Summary:        "removes the Ceph OSDs of the node after moving their data",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 6 * time.Hour},
		BeforeDrain:    "a drain evicts the OSDs, and Ceph has fewer copies to recover the data from",
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			if err := job.CheckNamespace(o.Namespace, namespace); err != nil {
				return nil, err
			}
			p := &plugin{options: o, client: client, clock: clock, agent: namespace}
			runner, err := p.runs(evacuate, nil)
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
	client kubernetes.Interface
	clock  clock.WithTicker
	// agent is the namespace of the agent, empty if it is not known.
	agent string
	// jobRules are the rights for the Jobs, in the namespace of the options.
	jobRules []rbacv1.PolicyRule
}

// RunsPods implements cleanup.PodRunner.
func (p *plugin) RunsPods() cleanup.PodRun {
	return cleanup.PodRun{Namespace: p.Namespace, ServiceAccountName: p.ServiceAccountName}
}
