package api

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// LabelsFor returns labels that a selector chooses, for a Node that is only made up,
// and whether it found any: not for every selector is that done by looking at what
// it names.
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
