package printer

import (
	"fmt"
	"strings"
	"unicode"
)

// Clean returns a text as one line that is safe for a terminal. Characters that would move the
// cursor, change colours or reverse the writing direction are replaced by their number.
func Clean(text string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(CleanLines(text))
}

// CleanLines is Clean for a text of more than one line.
func CleanLines(text string) string {
	if !strings.ContainsFunc(text, controls) {
		return text
	}
	var clean strings.Builder
	for _, char := range text {
		if controls(char) {
			fmt.Fprintf(&clean, "<U+%04X>", char)
			continue
		}
		clean.WriteRune(char)
	}
	return clean.String()
}

func controls(char rune) bool {
	switch {
	case char == '\n', char == '\t':
		return false
	case char >= 0x202a && char <= 0x202e, char >= 0x2066 && char <= 0x2069:
		return true // Direction of writing.
	}
	return unicode.IsControl(char)
}
