package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/schema"
)

// optionFaults places the faults of options. Bind returns the faults of other options.
func (p *parser) optionFaults(path string, descriptor cleanup.Descriptor, options rawOptions, faults []error, bind func(options []byte) []error) {
	for _, err := range faults {
		option := optionFault(descriptor, err)
		if option.Path == "" {
			option.Path = optionWith(bind, err, options.values)
		}
		place := path
		if option.Path != "" {
			place += "." + option.Path
		}
		p.fault(place, "%s", option.Problem)
	}
}

var unknownOption = regexp.MustCompile(`^(unknown|duplicate) field "(.*)"$`)

// optionFault returns the option of a fault, and its problem for operators.
func optionFault(descriptor cleanup.Descriptor, err error) cleanup.OptionError {
	var option cleanup.OptionError
	var wrongType *json.UnmarshalTypeError
	switch match := unknownOption.FindStringSubmatch(err.Error()); {
	case errors.As(err, &option):
		return option
	case match != nil && match[1] == "unknown":
		see := "; see"
		if meant := suggestion(lastPart(match[2]), siblings(descriptor, match[2])); meant != "" {
			see = meant + " See"
		}
		return cleanup.OptionError{Path: match[2], Problem: fmt.Sprintf("unknown option of plugin %s%s: kubectl nodecleanup plugins describe %[1]s", descriptor.Name, see)}
	case match != nil:
		return cleanup.OptionError{Path: match[2], Problem: "duplicate option of plugin " + descriptor.Name}
	case errors.As(err, &wrongType) && wrongType.Field != "":
		for _, one := range optionsOf(descriptor) {
			if strings.ReplaceAll(one.Name, "[]", "") == wrongType.Field {
				return cleanup.OptionError{Path: wrongType.Field, Problem: fmt.Sprintf("must be of type %s, not %s", one.Type, wrongType.Value)}
			}
		}
	}
	return cleanup.OptionError{Problem: err.Error()}
}

// optionWith returns the option whose value alone has the same fault, "" if there is none. A type that
// decodes itself does not know the name of its option.
func optionWith(bind func(options []byte) []error, fault error, values map[string]any) string {
	for name, value := range values {
		data, err := json.Marshal(map[string]any{name: value})
		if err != nil {
			continue // All values together could be encoded.
		}
		if slices.ContainsFunc(bind(data), func(err error) bool { return err.Error() == fault.Error() }) {
			return name
		}
	}
	return ""
}

var index = regexp.MustCompile(`\[\d+\]`)

// siblings returns the names of the options beside one, such as action for rules[0].actoin.
func siblings(descriptor cleanup.Descriptor, path string) []string {
	inside := strings.TrimSuffix(index.ReplaceAllString(path, "[]"), lastPart(path))
	var names []string
	for _, option := range optionsOf(descriptor) {
		if name, found := strings.CutPrefix(option.Name, inside); found {
			names = append(names, name)
		}
	}
	return names
}

func lastPart(path string) string { return path[strings.LastIndex(path, ".")+1:] }

// optionsOf returns the options of a plugin. Without a schema, they have only names.
func optionsOf(descriptor cleanup.Descriptor) []schema.Option {
	if options, err := schema.Options(descriptor.Schema); err == nil {
		return options
	}
	var options []schema.Option
	for _, name := range descriptor.OptionNames() {
		options = append(options, schema.Option{Name: name})
	}
	return options
}
