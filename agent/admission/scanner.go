package admission

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/go-json-experiment/json/jsontext"
)

// scanner finds the values in a JSON text, and that it is one: RFC 8259, with the text in
// it as strict as jsontext wants it. It is here because most of a Node is not looked at,
// and because it reads strings eight bytes at a time: jsontext takes twice as long.
type scanner struct {
	data  []byte
	at    int
	depth int
}

// maxDepth bounds how deep values are nested. A Node has a dozen levels.
const maxDepth = 100

var (
	errEnd   = errors.New("the text ends in the middle")
	errDepth = fmt.Errorf("values are nested to a depth of more than %d", maxDepth)
)

// value returns the next value as it is written.
func (s *scanner) value() ([]byte, error) {
	s.space()
	start := s.at
	if err := s.skip(); err != nil {
		return nil, err
	}
	return s.data[start:s.at], nil
}

// end is an error unless nothing but space is left.
func (s *scanner) end() error {
	s.space()
	if s.at < len(s.data) {
		return s.unexpected("the end")
	}
	return nil
}

// peek returns the first byte of what comes next, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.at == len(s.data) {
		return 0
	}
	return s.data[s.at]
}

// skip moves behind the next value. It has no recursion: that would take twice as long.
func (s *scanner) skip() error {
	var inObject [maxDepth]bool // by level
	level := 0
	for {
		switch s.peek() {
		case '{', '[':
			if level++; s.depth+level > maxDepth {
				return errDepth
			}
			inObject[level-1] = s.data[s.at] == '{'
			s.at++
			if next := s.peek(); next != '}' && next != ']' {
				if inObject[level-1] {
					if _, err := s.name(); err != nil {
						return err
					}
				}
				continue
			}
		default:
			if err := s.scalar(); err != nil {
				return err
			}
		}
		for ; level > 0; level-- {
			closing := byte(']')
			if inObject[level-1] {
				closing = '}'
			}
			more, err := s.more(closing)
			if err != nil {
				return err
			}
			if more {
				break
			}
		}
		if level == 0 {
			return nil
		}
		if inObject[level-1] {
			if _, err := s.name(); err != nil {
				return err
			}
		}
	}
}

// object reads an object: it calls read with each name, to read the value.
func (s *scanner) object(read func(name []byte) error) error {
	if s.depth++; s.depth > maxDepth {
		return errDepth
	}
	s.at++
	more := s.peek() != '}'
	if !more {
		s.at++
	}
	for more {
		name, err := s.name()
		if err != nil {
			return err
		}
		if err := read(name); err != nil {
			return err
		}
		if more, err = s.more('}'); err != nil {
			return err
		}
	}
	s.depth--
	return nil
}

// name reads a member's name, and the colon behind it.
func (s *scanner) name() ([]byte, error) {
	if s.peek() != '"' {
		return nil, s.unexpected("a name")
	}
	name, err := s.text()
	if err != nil {
		return nil, err
	}
	if s.peek() != ':' {
		return nil, s.unexpected("a colon")
	}
	s.at++
	return name, nil
}

// more moves behind the comma or the bracket that is next, and reports whether it was a comma.
func (s *scanner) more(closing byte) (bool, error) {
	switch s.peek() {
	case ',':
		s.at++
		return true, nil
	case closing:
		s.at++
		return false, nil
	}
	return false, s.unexpected(fmt.Sprintf("a comma or %q", closing))
}

// scalar reads a value that holds no other.
func (s *scanner) scalar() error {
	switch first := s.peek(); {
	case first == '"':
		_, err := s.text()
		return err
	case first == 't':
		return s.literal("true")
	case first == 'f':
		return s.literal("false")
	case first == 'n':
		return s.literal("null")
	case first == '-' || isDigit(first):
		return s.number()
	}
	return s.unexpected("a value")
}

// text reads a string, and returns what it says.
func (s *scanner) text() ([]byte, error) {
	start, plain := s.at, true
	for at := start + 1; ; {
		if at < len(s.data) {
			at += plainBytes(s.data[at:])
		}
		if at >= len(s.data) {
			return nil, errEnd
		}
		switch next := s.data[at]; {
		case next == '"':
			s.at = at + 1
			if plain {
				return s.data[start+1 : at], nil
			}
			said, err := jsontext.AppendUnquote(nil, s.data[start:s.at])
			if err != nil {
				return nil, fmt.Errorf("the text at byte %d: %w", start, err)
			}
			return said, nil
		case next == '\\':
			plain = false
			at += 2
		case next < ' ':
			return nil, fmt.Errorf("the text at byte %d has the control character %q", start, next)
		default:
			plain = false
			at++
		}
	}
}

// plainBytes returns how many bytes from the first on are ASCII that stands for itself in a string.
func plainBytes(data []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(data)-n >= 8; n += 8 {
		word := binary.LittleEndian.Uint64(data[n:])
		// The high bit of a byte is set where it was (no ASCII), and where taking away
		// something goes below 0: a control character, a quote, a backslash. That borrows
		// from the byte above, so that only the lowest one set is sure, which is the first.
		quote, escape := word^('"'*ones), word^('\\'*ones)
		special := (word | (word - ' '*ones) | (quote - ones) | (escape - ones)) & highs
		if special != 0 {
			return n + bits.TrailingZeros64(special)/8
		}
	}
	for n < len(data) && data[n] >= ' ' && data[n] < 0x80 && data[n] != '"' && data[n] != '\\' {
		n++
	}
	return n
}

func (s *scanner) literal(want string) error {
	if !bytes.HasPrefix(s.data[s.at:], []byte(want)) {
		return s.unexpected(want)
	}
	s.at += len(want)
	return nil
}

func (s *scanner) number() error {
	s.take('-')
	if !s.take('0') && s.digits() == 0 {
		return s.unexpected("a digit")
	}
	if s.take('.') && s.digits() == 0 {
		return s.unexpected("a digit")
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if s.digits() == 0 {
			return s.unexpected("a digit")
		}
	}
	return nil
}

// take moves behind the next byte if it is that one.
func (s *scanner) take(one byte) bool {
	is := s.at < len(s.data) && s.data[s.at] == one
	if is {
		s.at++
	}
	return is
}

func (s *scanner) digits() int {
	start := s.at
	for s.at < len(s.data) && isDigit(s.data[s.at]) {
		s.at++
	}
	return s.at - start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) unexpected(want string) error {
	if s.at >= len(s.data) {
		return errEnd
	}
	return fmt.Errorf("at byte %d should be %s, not %q", s.at, want, s.data[s.at])
}
