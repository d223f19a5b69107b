// Command schema writes what is generated from the options of the plugins and from the type of the
// config: schema.json and the table of options of each plugin, and docs/config.schema.json. With
// -check it writes nothing and fails if a file differs.
//
//	go run . [-check] ../..
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	check := flag.Bool("check", false, "compare instead of writing; exit code 1 if a file differs")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "schema: name the root of the repository: go run . [-check] ../..")
		os.Exit(2)
	}
	stale, err := generate(flag.Arg(0), *check)
	if err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(1)
	}
	for _, file := range stale {
		if !*check {
			fmt.Println("wrote", file)
			continue
		}
		fmt.Fprintf(os.Stderr, "schema: %s differs from what its types say: run make schema\n", file)
	}
	if *check && len(stale) > 0 {
		os.Exit(1)
	}
}
