package api

import (
	"testing"

	"k8s.io/apimachinery/pkg/labels"
)

func TestLabelsForASelector(t *testing.T) {
	for text, found := range map[string]bool{
		"": true, "a=b": true, "a in (b,c),d=e": true, "a": true, "!a": true, "a!=b": true, "a!=b,c!=d": true, "a,a=b": true, "a notin (b,c),d=e": true, "a=b,a!=b": false,
	} {
		selector, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		chosen, is := LabelsFor(selector)
		if is != found || is && !selector.Matches(chosen) {
			t.Errorf("%q: %v %t", text, chosen, is)
		}
	}
	if _, is := LabelsFor(labels.Nothing()); is {
		t.Error("labels are found for a selector that chooses nothing")
	}
}
