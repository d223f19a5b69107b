// Command kubectl is cmd/kubectl of Kubernetes without the authentication plugins of cloud vendors. It is a separate
// program because a cluster does not need kubectl: users with their own kubectl never compile it.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	// The verbosity counts while the command is put together too, as in cmd/kubectl.
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err) // prints and exits
	}
}
