package api

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// LabelsFor returns labels that the selector matches, for a Node of a dry run. The result is false
// if it finds none: it tries only the values that the selector names.
func LabelsFor(selector labels.Selector) (labels.Set, bool) {
	requirements, selectable := selector.Requirements()
	if !selectable {
		return nil, false
	}
	chosen := labels.Set{}
	for _, one := range requirements {
		switch one.Operator() {
		case selection.In, selection.Equals, selection.DoubleEquals:
			chosen[one.Key()] = one.Values().List()[0]
		case selection.Exists:
			if !chosen.Has(one.Key()) {
				chosen[one.Key()] = ""
			}
		}
	}
	return chosen, selector.Matches(chosen)
}
