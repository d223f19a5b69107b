// Command chart writes what is made of the Helm chart: the Kustomize base, and what its
// components add; and the chart's copy of the alerts. With -check it writes nothing and fails when a file is not what the
// chart says.
//
//	go run . [-check] ../../../manifests
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	check := flag.Bool("check", false, "compare instead of writing; exit code 1 when a file differs")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "chart: say where the manifests are: go run . [-check] ../../../manifests")
		os.Exit(2)
	}
	stale, err := generate(flag.Arg(0), *check)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
	for _, file := range stale {
		if !*check {
			fmt.Println("wrote", file)
			continue
		}
		fmt.Fprintf(os.Stderr, "chart: %s is not what it is made of, as its first line says: change that, then run make render\n", file)
	}
	if *check && len(stale) > 0 {
		os.Exit(1)
	}
}
