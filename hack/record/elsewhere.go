//go:build !linux

// Command record needs Linux, see test/node.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "recording documents needs a node, which is Linux with root")
	os.Exit(1)
}
