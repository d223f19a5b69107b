// Command words checks that the repository uses none of the words that words.txt retires:
//
//	go run ./hack/words
package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

//go:embed words.txt
var list string

func main() {
	n, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "checking words:", err)
		os.Exit(1)
	}
	if n > 0 {
		fmt.Fprintf(os.Stderr, "%d retired words: see hack/words/words.txt for what to write instead\n", n)
		os.Exit(1)
	}
}

// run prints the retired words in the files that git knows, and returns their number.
func run() (int, error) {
	entries, err := parse(list)
	if err != nil {
		return 0, err
	}
	out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return 0, fmt.Errorf("listing files: %w", err)
	}
	n := 0
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if skipped(name) {
			continue
		}
		source, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			return n, err
		}
		for _, f := range check(entries, name, source) {
			n++
			fmt.Printf("%s:%d: %q: write %s\n", name, f.line, f.found, f.instead)
		}
	}
	return n, nil
}

// skipped reports whether a file has no text of ours: checksums, licences, inputs of fuzz
// tests, records of older versions, and the list of the retired words with its test.
func skipped(name string) bool {
	return path.Dir(name) == "hack/words" || strings.Contains(name, "/testdata/fuzz/") || strings.Contains(name, "/testdata/older/") ||
		slices.Contains([]string{"LICENSE", "go.sum"}, path.Base(name))
}
