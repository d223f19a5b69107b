// Command docs writes the reference of the command line into docs/cli, one page
// a command, and man pages into a folder:
//
//	go run ./hack/docs docs/cli        # pages
//	go run ./hack/docs -man FOLDER     # man pages
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
)

func main() {
	man := flag.Bool("man", false, "write man pages")
	flag.Parse()
	if err := run(flag.Arg(0), *man); err != nil {
		fmt.Fprintln(os.Stderr, "writing the reference:", err)
		os.Exit(1)
	}
}

func run(folder string, man bool) error {
	if folder == "" {
		return errors.New("parsing arguments: the output folder is missing")
	}
	root := cli.New(command.NewEnvironment(genericiooptions.IOStreams{}))
	if man {
		return manPages(root, folder)
	}
	return pages(root, folder)
}
