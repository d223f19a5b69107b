package cleanup

import (
	"errors"
	"reflect"
	"time"

	"sigs.k8s.io/json"
)

// Policy has the defaults of a step. The config may
// override each value.
type Policy struct {
	// Critical: the agent keeps the Node until the step has succeeded.
	Critical bool
	// Timeout limits one attempt.
	Timeout time.Duration
}

// Descriptor describes a plugin to the catalog. It is a value: nothing
// registers itself.
type Descriptor struct {
	// Name is the plugin's name in config: lower case letters, digits and "-".
	Name string
	// Summary describes in one line what a step of this plugin does.
	Summary string
	// Defaults apply to each step whose config does not set them.
	Defaults Policy
	// BeforeDrain is why a step of this plugin must run before a drain of the same Node, such as
	// "a drain evicts the Pods that copy the data". It is empty if the order does not matter. The config
	// warns about a step that does not run before each drain.
	BeforeDrain string
	// Schema is the JSON Schema of the options, if there is one. hack/schema generates it from
	// DefaultOptions and the doc comments of their type.
	Schema []byte
	// DefaultOptions are the options of a step that sets none: the value that was passed to Options.
	DefaultOptions any
	// Options are the names of the options of a plugin without a Schema, see OptionNames.
	Options []string
	// Bind decodes a step's options and builds the plugin for it. See Options. It is nil for a plugin that
	// only sends notifications.
	Bind func(options []byte) (Plugin, []error)
	// BindNotifier does the same for a notification. It is nil for a plugin that cannot send notifications.
	BindNotifier func(options []byte) (Notifier, []error)
}

// Validator is implemented by options that check themselves.
type Validator interface {
	// Validate returns every fault; each is an OptionError if it belongs to one option.
	Validate() []error
}

// OptionError is a fault in one option.
type OptionError struct {
	// Path of the option inside options, such as "headers[0].name".
	Path string
	// Problem continues a sentence that begins with the path: "must be an http or https URL".
	Problem string
}

// Error returns the path and the problem.
func (e OptionError) Error() string { return e.Path + ": " + e.Problem }

// Options makes a Descriptor's Bind from the type O of a plugin's options and
// its constructor. Options come as JSON; names are matched exactly, and an
// unknown or repeated one is an error. Defaults are the values that O has when
// it is passed in; steps share no slice or map of them. Every fault is returned, not only the first.
func Options[O any](defaults O, construct func(O) (Plugin, error)) func([]byte) (Plugin, []error) {
	return bind(defaults, construct)
}

// NotifierOptions makes a Descriptor's BindNotifier, as Options makes its Bind.
func NotifierOptions[O any](defaults O, construct func(O) (Notifier, error)) func([]byte) (Notifier, []error) {
	return bind(defaults, construct)
}

func bind[O, P any](defaults O, construct func(O) (P, error)) func([]byte) (P, []error) {
	return func(data []byte) (P, []error) {
		var none P
		options := clone(reflect.ValueOf(&defaults).Elem()).Interface().(O)
		if len(data) > 0 {
			strict, err := json.UnmarshalStrict(data, &options)
			if err != nil {
				return none, []error{err}
			}
			if len(strict) > 0 {
				return none, strict
			}
		}
		if validator, can := any(&options).(Validator); can {
			if faults := validator.Validate(); len(faults) > 0 {
				return none, faults
			}
		}
		plugin, err := construct(options)
		if err != nil {
			return none, []error{err}
		}
		if any(plugin) == nil {
			return none, []error{errors.New("the plugin's constructor returned nothing")}
		}
		return plugin, nil
	}
}
