package cleanup

import (
	"slices"
	"testing"
)

func TestDescriptorOptionNames(t *testing.T) {
	for name, test := range map[string]struct {
		descriptor Descriptor
		want       []string
	}{
		"of the schema":     {Descriptor{Schema: []byte(`{"properties": {"url": {}, "method": {}}}`), Options: []string{"old"}}, []string{"method", "url"}},
		"of an empty one":   {Descriptor{Schema: []byte(`{}`)}, []string{}},
		"without a schema":  {Descriptor{Options: []string{"url"}}, []string{"url"}},
		"without any names": {Descriptor{}, nil},
	} {
		if got := test.descriptor.OptionNames(); !slices.Equal(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

type sharedOptions struct {
	Timeout int `json:"timeout"`
}

func TestOptionNames(t *testing.T) {
	type options struct {
		sharedOptions
		URL    string `json:"url,omitempty"`
		Plain  bool
		Hidden int `json:"-"`
		inner  int
	}
	_ = options{inner: 1}
	if names := OptionNames[options](); !slices.Equal(names, []string{"Plain", "timeout", "url"}) {
		t.Errorf("the names are %q", names)
	}
	if names := OptionNames[struct{}](); names == nil || len(names) > 0 {
		t.Errorf("a plugin without options has %q", names)
	}
}
