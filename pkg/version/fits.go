package version

import "k8s.io/apimachinery/pkg/util/version"

// Fits reports whether a CLI and an agent of these versions can read each other's objects: both
// have the same minor version. Versions without a number must be equal.
func Fits(cli, agent string) bool {
	if cli == agent {
		return true
	}
	one, err := version.ParseSemantic(cli)
	if err != nil {
		return false
	}
	other, err := version.ParseSemantic(agent)
	return err == nil && one.Major() == other.Major() && one.Minor() == other.Minor()
}
