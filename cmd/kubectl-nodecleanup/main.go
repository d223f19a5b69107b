// Command kubectl-nodecleanup is the CLI: as "kubectl nodecleanup" where it is
// on the PATH, or by its own name.
package main

import (
	"context"
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func main() {
	ctx, stop := exit.OnSignal(context.Background())
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	err := cli.Execute(ctx, streams, os.Args[1:])
	code := exit.Code(ctx, err)
	stop()
	os.Exit(code)
}
