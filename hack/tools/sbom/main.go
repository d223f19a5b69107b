// Command sbom reads a Go program and prints its software bill of materials, in CycloneDX.
//
//	go run ./sbom -name program -version v1.2.3 <program >program.cdx.json
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/bom"
)

func main() {
	name := flag.String("name", "", "name of the program")
	version := flag.String("version", "v0.0.0-dev", "version of the program")
	flag.Parse()
	if err := describe(os.Stdin, os.Stdout, *name, *version); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func describe(in io.Reader, out io.Writer, name, version string) error {
	program, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	document, err := bom.Of(program, name, version)
	if err != nil {
		return err
	}
	_, err = out.Write(document)
	return err
}
