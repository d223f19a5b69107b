package api

import (
	"encoding/json"
	"reflect"
	"strings"
)

// unknownFields are the JSON fields of an object that this version does not know. A newer
// version wrote them; they are ignored, and preserved when this version writes the object.
type unknownFields map[string]json.RawMessage

// decodeUnknown returns the fields of a JSON object that the struct known has no field for.
func decodeUnknown(data []byte, known any) (unknownFields, error) {
	var fields unknownFields
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	kind := reflect.TypeOf(known)
	for i := range kind.NumField() {
		name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
		delete(fields, name)
	}
	if len(fields) == 0 {
		return nil, nil
	}
	return fields, nil
}

// encode adds the fields to a JSON object.
func (u unknownFields) encode(object []byte) ([]byte, error) {
	if len(u) == 0 {
		return object, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return nil, err
	}
	for name, value := range u {
		if _, known := fields[name]; !known {
			fields[name] = value
		}
	}
	return json.Marshal(fields)
}

// plainRun and plainStepRun have the fields and not the methods.
type (
	plainRun     Run
	plainStepRun StepRun
)

// UnmarshalJSON implements json.Unmarshaler.
func (r *Run) UnmarshalJSON(data []byte) (err error) {
	if err = json.Unmarshal(data, (*plainRun)(r)); err != nil {
		return err
	}
	r.unknown, err = decodeUnknown(data, *r)
	return err
}

// MarshalJSON implements json.Marshaler.
func (r Run) MarshalJSON() ([]byte, error) {
	data, err := json.Marshal(plainRun(r))
	if err != nil {
		return nil, err
	}
	return r.unknown.encode(data)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *StepRun) UnmarshalJSON(data []byte) (err error) {
	if err = json.Unmarshal(data, (*plainStepRun)(s)); err != nil {
		return err
	}
	s.unknown, err = decodeUnknown(data, *s)
	return err
}

// MarshalJSON implements json.Marshaler.
func (s StepRun) MarshalJSON() ([]byte, error) {
	data, err := json.Marshal(plainStepRun(s))
	if err != nil {
		return nil, err
	}
	return s.unknown.encode(data)
}
