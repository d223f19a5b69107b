package main

import (
	"bytes"
	"fmt"
	"go/scanner"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

// entry is a retired word or phrase.
type entry struct {
	phrase      *regexp.Regexp
	names, text bool
	instead     string
}

// finding is a place where a retired word is used.
type finding struct {
	line           int
	found, instead string
}

// parse reads a list: a phrase, where it is retired, and what to write instead, separated by
// "|". Each word of a phrase may have alternatives, separated by "/".
func parse(list string) ([]entry, error) {
	var entries []entry
	for i, line := range strings.Split(list, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "|")
		if len(fields) != 3 {
			return nil, fmt.Errorf("words.txt:%d: want PHRASE | name, text or all | INSTEAD", i+1)
		}
		var words []string
		for word := range strings.FieldsSeq(fields[0]) {
			words = append(words, "(?:"+strings.ReplaceAll(regexp.QuoteMeta(word), "/", "|")+")")
		}
		e := entry{
			phrase:  regexp.MustCompile(`(?i)\b` + strings.Join(words, `(?:\s+|-)`) + `\b`),
			instead: strings.TrimSpace(fields[2]),
		}
		switch where := strings.TrimSpace(fields[1]); where {
		case "name":
			e.names = true
		case "text":
			e.text = true
		case "all":
			e.names, e.text = true, true
		default:
			return nil, fmt.Errorf("words.txt:%d: %q is none of name, text, all", i+1, where)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// check returns the retired words in a file, in the order of their lines. In Go, identifiers
// are names, and comments and strings are text. Any other file is text. The name of a file is
// a name.
func check(entries []entry, name string, source []byte) []finding {
	text := source
	base := path.Base(name)
	names := []identifier{{strings.TrimSuffix(base, path.Ext(base)), 1}}
	if strings.HasSuffix(name, ".go") {
		var found []identifier
		text, found = splitGo(source)
		names = append(names, found...)
	} else {
		text = commentMarks.ReplaceAllFunc(text, blank)
	}
	var findings []finding
	for _, e := range entries {
		if e.text {
			for _, at := range e.phrase.FindAllIndex(text, -1) {
				words := strings.Join(strings.Fields(string(text[at[0]:at[1]])), " ")
				findings = append(findings, finding{1 + bytes.Count(text[:at[0]], []byte("\n")), words, e.instead})
			}
		}
		if e.names {
			for _, one := range names {
				if e.phrase.MatchString(words(one.name)) {
					findings = append(findings, finding{one.line, one.name, e.instead})
				}
			}
		}
	}
	slices.SortStableFunc(findings, func(a, b finding) int { return a.line - b.line })
	return findings
}

type identifier struct {
	name string
	line int
}

// commentMarks begin a line of a comment. Without them, a phrase may continue on the next line.
var commentMarks = regexp.MustCompile(`(?m)^[ \t]*(//|#|\*)`)

// splitGo returns the comments and strings of Go source, at the lines where they are, and its
// identifiers. Strings that are joined by + are one text.
func splitGo(source []byte) ([]byte, []identifier) {
	text := bytes.Repeat([]byte{';'}, len(source))
	for i, b := range source {
		if b == '\n' || b == '\t' || b == ' ' || b == '\r' {
			text[i] = b
		}
	}
	files := token.NewFileSet()
	file := files.AddFile("", files.Base(), len(source))
	var s scanner.Scanner
	s.Init(file, source, func(token.Position, string) {}, scanner.ScanComments)
	var identifiers []identifier
	for {
		pos, tok, literal := s.Scan()
		at := file.Offset(pos)
		switch tok {
		case token.EOF:
			return text, identifiers
		case token.IDENT:
			identifiers = append(identifiers, identifier{literal, file.Line(pos)})
		case token.ADD:
			text[at] = ' '
		case token.COMMENT:
			copy(text[at:], commentMarks.ReplaceAllFunc(source[at:at+len(literal)], blank))
		case token.STRING:
			copy(text[at:], escapes.ReplaceAllFunc(source[at:at+len(literal)], blank))
			text[at], text[at+len(literal)-1] = ' ', ' '
		}
	}
}

// escapes are what a Go string writes for white space.
var escapes = regexp.MustCompile(`\\[nt]`)

func blank(b []byte) []byte { return bytes.Repeat([]byte{' '}, len(b)) }

// words returns the words of an identifier or of a file's name, separated by spaces.
func words(name string) string {
	name = lowerUpper.ReplaceAllString(name, "$1 $2")
	name = acronym.ReplaceAllString(name, "$1 $2")
	return strings.ReplaceAll(strings.ReplaceAll(name, "_", " "), "-", " ")
}

var (
	lowerUpper = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	acronym    = regexp.MustCompile(`([A-Z]+)([A-Z][a-z])`)
)
