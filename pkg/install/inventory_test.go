package install

import "testing"

// A removed step no longer needs its roles, wherever the agent runs.
func TestWhyPruned(t *testing.T) {
	role, deployment := entry{Group: "rbac.authorization.k8s.io", Kind: "Role"}, entry{Group: "apps", Kind: "Deployment"}
	const unneeded, outside = "no install with these options has it", "the agent runs outside the cluster"
	for _, test := range []struct {
		entry   entry
		outside bool
		want    string
	}{{role, true, unneeded}, {role, false, unneeded}, {deployment, true, outside}, {deployment, false, unneeded}} {
		if got := test.entry.whyPruned(test.outside); got != test.want {
			t.Errorf("%s, outside %t: %q, want %q", test.entry.Kind, test.outside, got, test.want)
		}
	}
}
