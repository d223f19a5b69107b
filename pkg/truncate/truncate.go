// Package truncate limits the length of texts that other programs write, such as those in errors, conditions and headers.
package truncate

import "strings"

// Bytes returns a text of at most most bytes as it is. Otherwise, it returns as much of the beginning, without an incomplete
// character, and "…".
func Bytes(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
