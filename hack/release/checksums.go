package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checksums returns the SHA-256 of files in a folder by their names, in lower case
// hexadecimal digits.
func checksums(folder string, names []string) (map[string]string, error) {
	sums := map[string]string{}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		sums[name] = hex.EncodeToString(sum[:])
	}
	return sums, nil
}

// writeChecksums writes them as sha256sum -c reads them.
func writeChecksums(path string, sums map[string]string) error {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&text, "%s  %s\n", sums[name], name)
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}
