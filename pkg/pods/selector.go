package pods

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Selector chooses Pods in the options of a plugin. Validate has to be called first.
type Selector struct {
	// Namespaces to choose from, all if there are none.
	Namespaces []string `json:"namespaces"`
	// Selector of labels; an empty one chooses all Pods of the namespaces.
	Selector metav1.LabelSelector `json:"selector"`

	compiled labels.Selector
}

// Validate returns the faults of a selector whose options are at the path.
func (s *Selector) Validate(path string) []error {
	var faults []error
	for _, namespace := range s.Namespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			faults = append(faults, cleanup.OptionError{Path: path + ".namespaces", Problem: "has " + namespace + ", which is no name of a namespace"})
		}
	}
	var err error
	if s.compiled, err = metav1.LabelSelectorAsSelector(&s.Selector); err != nil {
		faults = append(faults, cleanup.OptionError{Path: path + ".selector", Problem: err.Error()})
	}
	return faults
}

// Everything reports whether each Pod is chosen.
func (s *Selector) Everything() bool {
	return len(s.Namespaces) == 0 && len(s.Selector.MatchLabels) == 0 && len(s.Selector.MatchExpressions) == 0
}

// Matches reports whether the Pod is chosen.
func (s *Selector) Matches(pod *corev1.Pod) bool {
	return (len(s.Namespaces) == 0 || slices.Contains(s.Namespaces, pod.Namespace)) && s.compiled.Matches(labels.Set(pod.Labels))
}
