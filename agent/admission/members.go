package admission

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// field reads the value of one member of a JSON object.
type field func(*jsontext.Decoder) error

// into is the field that decodes to where target points.
func into(target any) field {
	return func(decoder *jsontext.Decoder) error { return json.UnmarshalDecode(decoder, target) }
}

// text is the field that reads a string.
func text[T ~string](target *T) field {
	return func(decoder *jsontext.Decoder) error { return readText(decoder, target) }
}

// readText reads a string, or null, which leaves target as it is.
func readText[T ~string](decoder *jsontext.Decoder, target *T) error {
	token, err := decoder.ReadToken()
	if err != nil {
		return err
	}
	switch token.Kind() {
	case '"':
		*target = T(token.String())
	case 'n':
	default:
		return fmt.Errorf("before byte %d should be a JSON string", decoder.InputOffset())
	}
	return nil
}

// members reads a JSON object, or null, which has no members. Of members for which known
// returns nil it only sees that they are JSON, which takes half the time of reading them;
// of the others it refuses one that is there twice.
func members(decoder *jsontext.Decoder, known func(name string) field) error {
	read := make([]string, 0, 8)
	return each(decoder, func(name string) error {
		field := known(name)
		if field == nil {
			_, err := decoder.ReadValue()
			return err
		}
		if slices.Contains(read, name) {
			return twice(name)
		}
		read = append(read, name)
		return field(decoder)
	})
}

// each calls read for every member of a JSON object, with its name, to read its value. Null
// has none.
func each(decoder *jsontext.Decoder, read func(name string) error) error {
	switch decoder.PeekKind() {
	case '{':
	case 'n':
		return decoder.SkipValue()
	default:
		return fmt.Errorf("at byte %d should be a JSON object", decoder.InputOffset())
	}
	if _, err := decoder.ReadToken(); err != nil {
		return err
	}
	for decoder.PeekKind() == '"' {
		name, err := decoder.ReadToken()
		if err != nil {
			return err
		}
		if err := read(name.String()); err != nil {
			return err
		}
	}
	_, err := decoder.ReadToken() // The end, or why there is none.
	return err
}

func twice(name string) error { return fmt.Errorf("%w %q", jsontext.ErrDuplicateName, name) }
