package cleanup

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/json"
)

// SecretKey names one value in a Secret of the agent's namespace.
type SecretKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// Secrets reads values of Secrets.
type Secrets interface {
	// Secret returns the value that the key names. Its errors name the key,
	// never a value.
	Secret(ctx context.Context, key SecretKey) (string, error)
}

// Value is an option whose value is in the config or in a Secret:
//
//	token: {secretKeyRef: {name: portworx, key: token}}
//	url: https://inventory.example.com/nodes
//
// The plugin resolves it immediately before each use. It is never stored.
type Value struct {
	literal string
	ref     *SecretKey
}

// Literal returns a Value that the config contains.
func Literal(text string) Value { return Value{literal: text} }

// FromSecret returns a value that is kept in a Secret.
func FromSecret(name, key string) Value { return Value{ref: &SecretKey{Name: name, Key: key}} }

// UnmarshalJSON takes a string or an object with secretKeyRef.
func (v *Value) UnmarshalJSON(data []byte) error {
	*v = Value{} // A default of the other form must not remain.
	if len(data) > 0 && data[0] == '"' {
		return json.UnmarshalCaseSensitivePreserveInts(data, &v.literal)
	}
	var object struct {
		SecretKeyRef *SecretKey `json:"secretKeyRef"`
	}
	strict, err := json.UnmarshalStrict(data, &object)
	if err = errors.Join(append(strict, err)...); err != nil {
		return fmt.Errorf("neither a string nor {secretKeyRef: {name: …, key: …}}: %w", err)
	}
	v.ref = object.SecretKeyRef
	return nil
}

// Empty reports whether no value was given.
func (v Value) Empty() bool { return v.literal == "" && v.ref == nil }

// SecretKey returns the key of the Secret that holds the value, and whether there is one.
func (v Value) SecretKey() (SecretKey, bool) {
	if v.ref == nil {
		return SecretKey{}, false
	}
	return *v.ref, true
}

// Literal returns an inline value, "" for a value in a Secret.
func (v Value) Literal() string { return v.literal }

// Problem returns the fault of the value's definition, or "".
func (v Value) Problem() string {
	switch {
	case v.Empty():
		return "is required: a string or {secretKeyRef: {name: …, key: …}}"
	case v.ref != nil && (v.ref.Name == "" || v.ref.Key == ""):
		return "secretKeyRef needs name and key"
	}
	return ""
}

// Resolve returns the value, and reads it from the Secret if it refers to one. An empty value in a
// Secret is an error.
func (v Value) Resolve(ctx context.Context, secrets Secrets) (string, error) {
	if v.ref == nil {
		return v.literal, nil
	}
	return secrets.Secret(ctx, *v.ref)
}
