// Command kubernetes is a whole Kubernetes in one program: every component that a cluster for the demo and the
// tests needs, compiled from Go modules, so that nothing but Go is needed to have one.
//
//	kubernetes COMPONENT [FLAGS]
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	components := components()
	var run func() int
	if len(os.Args) > 1 {
		run = components[os.Args[1]]
	}
	if run == nil {
		fmt.Fprintf(os.Stderr, "usage: kubernetes %s [FLAGS]\n", strings.Join(names(components), "|"))
		os.Exit(2)
	}
	// Each component parses os.Args and believes that it is the whole program.
	os.Args = os.Args[1:]
	os.Exit(run())
}
