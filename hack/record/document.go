package main

import (
	"fmt"
	"regexp"
	"strings"
)

const (
	prompt = "$ "
	// omitted replaces lines of output that the document does not show.
	omitted = "…"
)

// shell runs a command and returns what it printed and its exit code.
type shell interface {
	// show runs one command of the document, as the reader would.
	show(command string) (output string, code int, err error)
	// run runs commands that the document does not show. Their failure is an error.
	run(script string) error
}

// record runs the commands in a document, from its beginning to its end, and returns the document
// with their new output. It is Markdown with these parts:
//
//   - A fenced block whose first line begins with "$ " is a session. record runs each line that begins with
//     "$ ", and replaces the other lines by what the commands print.
//   - A comment "<!-- run … -->" holds commands that the reader does not see, such as those that break
//     something.
//   - A comment "<!-- omit REGEXP -->" applies to the next session: its lines that match are omitted.
func record(document string, shell shell) (string, error) {
	var out strings.Builder
	lines := strings.SplitAfter(document, "\n")
	var omit *regexp.Regexp
	for i := 0; i < len(lines); i++ {
		line := strings.TrimRight(lines[i], "\n")
		switch {
		case line == "<!-- run":
			end := find(lines, i+1, "-->")
			if end < 0 {
				return "", fmt.Errorf("line %d: the comment does not end", i+1)
			}
			if err := shell.run(strings.Join(lines[i+1:end], "")); err != nil {
				return "", fmt.Errorf("line %d: %w", i+1, err)
			}
			out.WriteString(strings.Join(lines[i:end+1], ""))
			i = end
		case strings.HasPrefix(line, "<!-- omit "):
			pattern, err := regexp.Compile(strings.TrimSuffix(strings.TrimPrefix(line, "<!-- omit "), " -->"))
			if err != nil {
				return "", fmt.Errorf("line %d: %w", i+1, err)
			}
			omit = pattern
			out.WriteString(lines[i])
		case line == "```" && i+1 < len(lines) && strings.HasPrefix(lines[i+1], prompt):
			end := find(lines, i+1, "```")
			if end < 0 {
				return "", fmt.Errorf("line %d: the block does not end", i+1)
			}
			out.WriteString(lines[i])
			for _, each := range lines[i+1 : end] {
				if !strings.HasPrefix(each, prompt) {
					continue
				}
				text, err := session(shell, strings.TrimSpace(strings.TrimPrefix(each, prompt)), omit)
				if err != nil {
					return "", fmt.Errorf("line %d: %w", i+1, err)
				}
				out.WriteString(text)
			}
			out.WriteString(lines[end])
			omit = nil
			i = end
		default:
			out.WriteString(lines[i])
		}
	}
	return out.String(), nil
}

// session runs one command and returns the command and its output, as the document shows them.
func session(shell shell, command string, omit *regexp.Regexp) (string, error) {
	output, code, err := shell.show(command)
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	text := []string{prompt + command}
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, " \n")
		if omit != nil && omit.MatchString(line) {
			line = omitted
		}
		if line == omitted && text[len(text)-1] == omitted {
			continue
		}
		text = append(text, line)
	}
	if code != 0 {
		text = append(text, fmt.Sprintf("[exit %d]", code))
	}
	return strings.Join(text, "\n") + "\n", nil
}

// find returns the index of the next line with that text, or -1.
func find(lines []string, from int, text string) int {
	for i := from; i < len(lines); i++ {
		if strings.TrimRight(lines[i], "\n") == text {
			return i
		}
	}
	return -1
}
