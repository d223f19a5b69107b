// Package version returns the release that a program was built from.
package version

// Version is set when a release is linked:
//
//	-ldflags "-X github.com/nodecleanup/kubectl-nodecleanup/pkg/version.Version=v1.2.3"
var Version = "v0.0.0-dev"
