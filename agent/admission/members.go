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

// members reads a JSON object, or null, which has no members. Of members for which known
// returns nil it only sees that they are JSON, which takes half the time of reading them;
// of the others it refuses one that is there twice.
func members(decoder *jsontext.Decoder, known func(name string) field) error {
	switch kind := decoder.PeekKind(); kind {
	case '{':
	case 'n':
		return decoder.SkipValue()
	default:
		return fmt.Errorf("at byte %d should be a JSON object", decoder.InputOffset())
	}
	if _, err := decoder.ReadToken(); err != nil {
		return err
	}
	read := make([]string, 0, 8)
	for decoder.PeekKind() == '"' {
		token, err := decoder.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		field := known(name)
		if field == nil {
			if _, err := decoder.ReadValue(); err != nil {
				return err
			}
			continue
		}
		if slices.Contains(read, name) {
			return fmt.Errorf("%w %q", jsontext.ErrDuplicateName, name)
		}
		read = append(read, name)
		if err := field(decoder); err != nil {
			return err
		}
	}
	_, err := decoder.ReadToken() // The end, or why there is none.
	return err
}
