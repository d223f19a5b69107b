package cleanup

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the outputs of one step.
const (
	// MaxOutputs is the maximum number of outputs.
	MaxOutputs = 16
	// MaxOutputValue is the maximum length of a value, in bytes.
	MaxOutputValue = 1024
)

var outputName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)

// CheckOutput returns an error if a step cannot have an output of that name or value. The error does
// not contain the value.
func CheckOutput(name, value string) error {
	switch {
	case !outputName.MatchString(name):
		return fmt.Errorf("recording output %q: a name has 1 to 63 letters, digits, \"_\" and \"-\", and begins with a letter", name)
	case len(value) > MaxOutputValue:
		return fmt.Errorf("recording output %s: the value has %d bytes, the maximum is %d", name, len(value), MaxOutputValue)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return fmt.Errorf("recording output %s: the value is not one line of text", name)
	}
	return nil
}

// Output records a small value, such as the number of a ticket, in the run record. Later attempts of the
// step and the steps that depend on it can read it in Outputs and in templates. The agent stores it at
// once, even if Cleanup returns an error afterwards. An output of the same name is replaced. Users can
// read outputs: a value that contains a secret is an error, as is one that CheckOutput rejects.
func (t Target) Output(name, value string) error {
	if err := CheckOutput(name, value); err != nil {
		return err
	}
	if t.Recorded == nil {
		return nil
	}
	return t.Recorded(name, value)
}
