// Command kubernetes is a whole Kubernetes in one program: every component that a cluster for the demo and
// the tests needs, compiled from Go modules, so that nothing but Go is needed to have one.
//
//	kubernetes COMPONENT [FLAGS]
//
// It also answers to the name of a component: a link called kubectl that points at it is a kubectl.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	components := components()
	name, args := filepath.Base(os.Args[0]), os.Args
	run, ok := components[name]
	if !ok && len(os.Args) > 1 {
		name, args = os.Args[1], os.Args[1:]
		run, ok = components[name]
	}
	if !ok {
		fmt.Fprintf(os.Stderr, "usage: kubernetes %s [FLAGS]\n", strings.Join(names(components), "|"))
		os.Exit(2)
	}
	// Each component parses os.Args and believes that it is the whole program.
	os.Args = args
	os.Exit(run())
}
