package executor

import (
	"fmt"
	"strings"
)

// maxPreview bounds how many lines of a preview are kept: a record has room for 1 MiB.
const maxPreview = 50

func (e *Executor) redactAll(lines []string) []string {
	var clean []string
	for i, line := range lines {
		if i == maxPreview {
			return append(clean, fmt.Sprintf("and %d more", len(lines)-maxPreview))
		}
		clean = append(clean, shorten(e.redact(line)))
	}
	return clean
}

// maxErrorText bounds what of an error is kept in the record, in bytes.
const maxErrorText = 1024

func shorten(text string) string {
	if len(text) <= maxErrorText {
		return text
	}
	return strings.ToValidUTF8(text[:maxErrorText], "") + "…" // Not with half a letter.
}
