package main

import "strings"

// quote makes one word of a POSIX shell of the text.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
