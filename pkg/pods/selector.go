package pods

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Selector selects Pods in the options of a plugin. Call Validate first.
type Selector struct {
	// Namespaces are the namespaces of the Pods. Without them, all namespaces.
	Namespaces []string `json:"namespaces"`
	// Selector is the label selector of the Pods. Without it, all Pods of the namespaces.
	Selector metav1.LabelSelector `json:"selector"`

	compiled labels.Selector
}

// Validate returns the errors of a selector; path is where its options are.
func (s *Selector) Validate(path string) []error {
	var faults []error
	for _, namespace := range s.Namespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			faults = append(faults, cleanup.OptionError{Path: path + ".namespaces", Problem: fmt.Sprintf("%q is not a namespace name", namespace)})
		}
	}
	var err error
	if s.compiled, err = metav1.LabelSelectorAsSelector(&s.Selector); err != nil {
		faults = append(faults, cleanup.OptionError{Path: path + ".selector", Problem: err.Error()})
	}
	return faults
}

// Everything reports whether the selector selects all Pods.
func (s *Selector) Everything() bool {
	return len(s.Namespaces) == 0 && len(s.Selector.MatchLabels) == 0 && len(s.Selector.MatchExpressions) == 0
}

// Matches reports whether the selector selects the Pod.
func (s *Selector) Matches(pod *corev1.Pod) bool {
	return (len(s.Namespaces) == 0 || slices.Contains(s.Namespaces, pod.Namespace)) && s.compiled.Matches(labels.Set(pod.Labels))
}
