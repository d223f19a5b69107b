package version

import "testing"

func TestFits(t *testing.T) {
	for _, test := range []struct {
		cli, agent string
		want       bool
	}{
		{"v1.2.0", "v1.2.0", true}, {"v1.2.0", "v1.2.7", true}, {"v1.2.0", "v1.3.0", false}, {"v1.2.0", "v2.2.0", false},
		{"v0.0.0-dev", "v0.0.0-dev", true}, {"dev", "dev", true}, {"dev", "v1.2.0", false}, {"v1.2.0", "?", false},
	} {
		if got := Fits(test.cli, test.agent); got != test.want {
			t.Errorf("CLI %s and agent %s fit: %v", test.cli, test.agent, got)
		}
	}
}
