package admission

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// field reads the value of one member of a JSON object.
type field func(*scanner) error

// into is the field that decodes to where target points.
func into(target any) field {
	return func(s *scanner) error {
		value, err := s.value()
		if err != nil {
			return err
		}
		return json.Unmarshal(value, target)
	}
}

// text is the field that reads a string.
func text[T ~string](target *T) field {
	return func(s *scanner) error { return readText(s, target) }
}

// readText reads a string, or null, which leaves target as it is.
func readText[T ~string](s *scanner, target *T) error {
	switch s.peek() {
	case '"':
	case 'n':
		return s.skip()
	default:
		return s.unexpected("a JSON string")
	}
	value, err := s.text()
	if err != nil {
		return err
	}
	*target = T(value)
	return nil
}

// members reads a JSON object, or null, which has no members. Of members for which known
// returns nil it only sees that they are JSON; of the others it refuses one that is there
// twice.
func members(s *scanner, known func(name []byte) field) error {
	read := make([][]byte, 0, 8)
	return each(s, func(name []byte) error {
		field := known(name)
		if field == nil {
			return s.skip()
		}
		for _, before := range read {
			if bytes.Equal(before, name) {
				return twice(name)
			}
		}
		read = append(read, name)
		return field(s)
	})
}

// each calls read for every member of a JSON object, with its name, to read its value. Null
// has none.
func each(s *scanner, read func(name []byte) error) error {
	switch s.peek() {
	case '{':
		return s.object(read)
	case 'n':
		return s.skip()
	}
	return s.unexpected("a JSON object")
}

func twice(name []byte) error { return fmt.Errorf("%w %q", jsontext.ErrDuplicateName, name) }
