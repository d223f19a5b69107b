package command

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	kubernetesversion "k8s.io/component-base/version"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// flagMatchServerVersion is kubectl's flag. kubectl compares all of its own version with the
// server's. This CLI is not part of a Kubernetes release, so that no server would ever match: it
// compares the minor version of the Kubernetes libraries in it.
const flagMatchServerVersion = "match-server-version"

// clientVersion is the minor version of Kubernetes that the libraries in this CLI are of. It is a
// constant of theirs, because only Kubernetes' own builds stamp a version at link time.
const clientVersion = kubernetesversion.DefaultKubeBinaryVersion

// matchServerVersion asks the API server for its version, and returns an error if its minor
// version is not clientVersion.
func matchServerVersion(getter genericclioptions.RESTClientGetter) error {
	client, err := getter.ToDiscoveryClient()
	if err != nil {
		return fmt.Errorf("preparing to ask for the server's version: %w", err)
	}
	server, err := client.ServerVersion()
	if err != nil {
		return fmt.Errorf("reading the server's version for --%s: %w", flagMatchServerVersion, err)
	}
	differs := sameMinor(clientVersion, server.GitVersion)
	if differs == nil {
		return nil
	}
	return &exit.Error{
		Code: exit.Failure,
		Err:  fmt.Errorf("comparing versions for --%s: %w", flagMatchServerVersion, differs),
		Next: fmt.Sprintf("Use a release of this CLI that has the libraries of the server's minor version, or leave --%s out.", flagMatchServerVersion),
	}
}

func sameMinor(client, server string) error {
	ours, err := version.ParseGeneric(client)
	if err != nil {
		return fmt.Errorf("the client version is %q: %w", client, err)
	}
	theirs, err := version.ParseGeneric(server)
	if err != nil {
		return fmt.Errorf("the server version is %q: %w", server, err)
	}
	if ours.Major() != theirs.Major() || ours.Minor() != theirs.Minor() {
		return errors.New("server version " + server + " differs from client version " + client)
	}
	return nil
}
