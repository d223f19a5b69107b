package config

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type fileJobs struct {
	// Namespace is the namespace in which steps may run Pods.
	Namespace string `yaml:"namespace" jsonschema:"required"`
	// ServiceAccounts are the ServiceAccounts that the Pods may have.
	ServiceAccounts []string `yaml:"serviceAccounts" jsonschema:"required,minItems=1"`
}

// jobs checks the list, and that each step that runs Pods does so with a ServiceAccount in it.
func (p *parser) jobs(written []fileJobs, steps []Step) {
	allowed := map[string][]string{}
	var namespaces []string
	for i, one := range written {
		path := fmt.Sprintf("jobs[%d]", i)
		if problems := validation.IsDNS1123Label(one.Namespace); len(problems) > 0 {
			p.fault(path+".namespace", "%q is not a valid name of a namespace: %s", one.Namespace, problems[0])
		} else if slices.Contains(namespaces, one.Namespace) {
			p.fault(path+".namespace", "%q is listed twice", one.Namespace)
		}
		if len(one.ServiceAccounts) == 0 {
			p.fault(path+".serviceAccounts", "must name a ServiceAccount")
		}
		namespaces = append(namespaces, one.Namespace)
		allowed[one.Namespace] = append(allowed[one.Namespace], p.names(path+".serviceAccounts", one.ServiceAccounts)...)
	}
	for i, step := range steps {
		runner, can := step.Bound.(cleanup.PodRunner)
		if !can {
			continue
		}
		run, path := runner.RunsPods(), fmt.Sprintf("steps[%d]", i)
		switch accounts, listed := allowed[run.Namespace]; {
		case !listed:
			p.fault(path+".options.namespace", "namespace %q is not in the list jobs%s", run.Namespace, suggestion(run.Namespace, namespaces))
		case !slices.Contains(accounts, run.ServiceAccountName):
			p.fault(path+".options.serviceAccountName", "service account %q is not in the list jobs of namespace %s%s", run.ServiceAccountName, run.Namespace, suggestion(run.ServiceAccountName, accounts))
		}
		if run.OnNode {
			p.apartFromDrains(path, step, steps)
		}
	}
}

// apartFromDrains checks that a step that runs a Pod on the Node never runs at the same time as a drain: the
// drain would evict the Pod.
func (p *parser) apartFromDrains(path string, step Step, steps []Step) {
	byName := map[string]Step{}
	for _, one := range steps {
		byName[one.Name] = one
	}
	for _, other := range steps {
		if other.Plugin != api.DrainPlugin || other.Name == step.Name ||
			dependsOn(step, other.Name, byName, map[string]bool{}) || dependsOn(other, step.Name, byName, map[string]bool{}) {
			continue
		}
		p.fault(path+".dependsOn", "the step runs a Pod on the Node, and step %q would evict it: add %q to dependsOn, or add %q to dependsOn of %[1]q", other.Name, other.Name, step.Name)
	}
}
