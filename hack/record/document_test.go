package main

import (
	"errors"
	"strings"
	"testing"
)

// script is a shell that answers from a map, and remembers what it ran.
type script struct {
	answers map[string]string
	codes   map[string]int
	ran     []string
}

func (s *script) show(command string) (string, int, error) {
	s.ran = append(s.ran, command)
	output, known := s.answers[command]
	if !known {
		return "", 0, errors.New("unexpected command")
	}
	return output, s.codes[command], nil
}

func (s *script) run(text string) error {
	s.ran = append(s.ran, "run: "+strings.TrimSpace(text))
	if strings.Contains(text, "false") {
		return errors.New("exit status 1")
	}
	return nil
}

func TestRecordReplacesTheOutputOfCommands(t *testing.T) {
	const before = "# Title\n\nText with `$ code`.\n\n<!-- run\nbreak it\n-->\n<!-- omit ^created -->\n```\n$ install\nold\n$ status\nold\nold\n```\n\n```\nno session\n```\n\n```\n$ install\n```\nEnd"
	const after = "# Title\n\nText with `$ code`.\n\n<!-- run\nbreak it\n-->\n<!-- omit ^created -->\n```\n$ install\nfirst\n…\nlast\n$ status\nFAILED\n[exit 3]\n```\n\n```\nno session\n```\n\n```\n$ install\nfirst\ncreated a\ncreated b\nlast\n```\nEnd"
	shell := &script{
		answers: map[string]string{"install": "first  \ncreated a\ncreated b\nlast", "status": "FAILED\n"},
		codes:   map[string]int{"status": 3},
	}
	got, err := record(before, shell)
	if err != nil {
		t.Fatal(err)
	}
	if got != after {
		t.Errorf("recorded:\n%s\nwant:\n%s", got, after)
	}
	if ran := strings.Join(shell.ran, ", "); ran != "run: break it, install, status, install" {
		t.Errorf("ran %s", ran)
	}
	again, err := record(after, shell)
	if err != nil || again != after {
		t.Errorf("a second recording is different: %v\n%s", err, again)
	}
}

func TestRecordNamesTheLineOfAFault(t *testing.T) {
	for document, want := range map[string]string{
		"\n<!-- run\nfalse\n-->\n":    "line 2: exit status 1",
		"<!-- run\ntrue\n":            "line 1: the comment does not end",
		"\n```\n$ unknown\n```\n":     "line 2: unknown: unexpected command",
		"```\n$ unknown\n":            "line 1: the block does not end",
		"<!-- omit ( -->\n```\n```\n": "line 1: error parsing regexp",
	} {
		if _, err := record(document, &script{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", document, err, want)
		}
	}
}
