package job

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of texts in an error, in bytes. The executor keeps 1024 bytes of an error.
const (
	maxMessage = 300
	maxLog     = 500
)

// oneLine returns the printable characters of a text, and each run of white space as one space: a
// container can write anything.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r), r == utf8.RuneError:
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// lastLines returns the last lines of a log in one line, separated by " | ". It drops the first ones if
// they are too long.
func lastLines(log string) string {
	var kept []string
	for line := range strings.Lines(log) {
		if line = oneLine(line); line != "" {
			kept = append(kept, line)
		}
	}
	text := strings.Join(kept, " | ")
	if len(text) <= maxLog {
		return text
	}
	return "…" + strings.ToValidUTF8(text[len(text)-maxLog:], "")
}
