package cleanup

import (
	"slices"
	"testing"
)

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
