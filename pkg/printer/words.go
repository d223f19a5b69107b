package printer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func joined(words []string) string { return strings.Join(words, ", ") }

// counted writes "3 failed, 1 running".
func counted(by map[string]int) string {
	var parts []string
	for _, word := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%d %s", by[word], strings.ToLower(word)))
	}
	return strings.Join(parts, ", ")
}
