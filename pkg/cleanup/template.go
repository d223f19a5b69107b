package cleanup

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Template is an option whose text can contain references to the Node, the run and outputs:
//
//	message: node ${node.name} of ${node.labels['team']:-unknown} is deleted, see ${steps.open-ticket.outputs.number}
//
// The references:
//
//	${node.name}, ${node.uid}, ${node.providerID}
//	${node.labels['KEY']}, ${node.annotations['KEY']}
//	${run.deletedBy}, the user who deleted the Node or requested its cleanup
//	${step.name}, ${step.attempt}, ${step.startedAt}, ${step.idempotencyKey}
//	${steps.STEP.outputs.NAME}, an output of a step that this step depends on
//
// The references in a notification, see Notification:
//
//	${notification.name}, ${notification.key}, ${notification.id}, ${notification.reference}
//	${notification.title}, ${notification.text}, ${notification.nodes}, ${notification.deletedBy}
//	${notification.status}: Open, Final, or Ongoing
//
// "${reference:-text}" stands for the text if the value is empty or absent. Without it, an absent label
// or annotation is empty, and an absent output is an error. "$${" is a literal "${".
//
// The config rejects a template with an unknown reference, with a reference of a notification in a step, or
// with one of a step in a notification. Labels and annotations of a Node can be written by its kubelet:
// escape them, see Expand.
type Template struct {
	text  string
	parts []part
	// fault is why the text cannot be parsed.
	fault error
}

// part is literal text, or a reference.
type part struct {
	literal   string
	reference *Reference
}

// Reference is one reference of a template.
type Reference struct {
	// Name as written, such as "node.labels['team']".
	Name string
	// Step and Output are set if the reference is to an output of a step.
	Step, Output string
	// key of a label or an annotation.
	key string
	// otherwise is the text if the value is empty or absent. It is nil if the template has none.
	otherwise *string
}

// text/template is not used: executing one anywhere makes the linker keep every method of every type,
// and the binary twice as large.
var (
	templateField = regexp.MustCompile(`\$?\$\{([^}]*)\}`)
	keyedField    = regexp.MustCompile(`^(node\.labels|node\.annotations)(?:\['([^']+)'\]|\.(.+))$`)
	outputField   = regexp.MustCompile(`^steps\.([a-z0-9][-a-z0-9]*)\.outputs\.([A-Za-z][A-Za-z0-9_-]*)$`)
)

// NewTemplate parses a template. The error names the unknown reference and the known ones.
func NewTemplate(text string) (Template, error) {
	template := Template{text: text}
	rest := 0
	for _, at := range templateField.FindAllStringSubmatchIndex(text, -1) {
		template.literal(text[rest:at[0]])
		rest = at[1]
		if strings.HasPrefix(text[at[0]:], "$$") {
			template.literal(text[at[0]+1 : at[1]])
			continue
		}
		reference, err := parseReference(text[at[2]:at[3]])
		if err != nil {
			return Template{}, err
		}
		template.parts = append(template.parts, part{reference: &reference})
	}
	template.literal(text[rest:])
	return template, nil
}

// MustTemplate is NewTemplate for the default of an option. It panics if the text has an unknown
// reference.
func MustTemplate(text string) Template {
	template, err := NewTemplate(text)
	if err != nil {
		panic(fmt.Sprintf("template %q %v", text, err))
	}
	return template
}

func (t *Template) literal(text string) {
	if text != "" {
		t.parts = append(t.parts, part{literal: text})
	}
}

func parseReference(text string) (Reference, error) {
	name, otherwise, given := strings.Cut(text, ":-")
	reference := Reference{Name: name}
	if given {
		reference.otherwise = &otherwise
	}
	if match := keyedField.FindStringSubmatch(name); match != nil {
		reference.Name, reference.key = match[1], match[2]+match[3]
		return reference, nil
	}
	if match := outputField.FindStringSubmatch(name); match != nil {
		reference.Step, reference.Output = match[1], match[2]
		return reference, nil
	}
	if slices.Contains(plainReferences(), name) || slices.Contains(NotificationReferences(), name) {
		return reference, nil
	}
	if strings.HasPrefix(name, notificationPrefix) {
		return Reference{}, fmt.Errorf("has the unknown reference ${%s}; known references: ${%s}", text, strings.Join(NotificationReferences(), "}, ${"))
	}
	return Reference{}, fmt.Errorf("has the unknown reference ${%s}; known references: ${%s}, ${node.labels['KEY']}, ${node.annotations['KEY']}, ${steps.STEP.outputs.NAME}",
		text, strings.Join(plainReferences(), "}, ${"))
}

func plainReferences() []string {
	return []string{"node.name", "node.uid", "node.providerID", "run.deletedBy", "step.name", "step.attempt", "step.startedAt", "step.idempotencyKey"}
}

const notificationPrefix = "notification."

// NotificationReferences returns the names of the references that a template of a notification can have.
func NotificationReferences() []string {
	return []string{"notification.name", "notification.key", "notification.id", "notification.reference", "notification.title", "notification.text",
		"notification.nodes", "notification.deletedBy", "notification.status"}
}

// OfNotification reports whether the reference is for a notification, and not for a step.
func (r Reference) OfNotification() bool { return strings.HasPrefix(r.Name, notificationPrefix) }

// UnmarshalJSON takes a string.
func (t *Template) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	parsed, err := NewTemplate(text)
	if err != nil { // Validate of the options reports it with the name of the option, see Problem.
		parsed = Template{text: text, fault: err}
	}
	*t = parsed
	return nil
}

// MarshalJSON returns the text as written.
func (t Template) MarshalJSON() ([]byte, error) { return json.Marshal(t.text) }

// Empty reports whether the text is empty.
func (t Template) Empty() bool { return t.text == "" }

// String returns the text as written, with its references.
func (t Template) String() string { return t.text }

// Problem returns the fault of the template, or "".
func (t Template) Problem() string {
	if t.fault != nil {
		return t.fault.Error()
	}
	return ""
}

// References returns the references of the template, in order.
func (t Template) References() []Reference {
	var references []Reference
	t.Each(func(string) {}, func(reference Reference) { references = append(references, reference) })
	return references
}

// Each calls its functions for the parts of the template, in order.
func (t Template) Each(literal func(text string), reference func(Reference)) {
	for _, part := range t.parts {
		if part.reference == nil {
			literal(part.literal)
		} else {
			reference(*part.reference)
		}
	}
}

// Expand replaces each reference by its value for the target. It passes each value, but no literal
// text, through escape, if escape is not nil. An output that no step has recorded is a permanent error.
func (t Template) Expand(target Target, escape func(string) string) (string, error) {
	return t.expand(func(r Reference) (string, bool) { return r.ofTarget(target) }, escape)
}

// ExpandNotification replaces each reference by its value for the notification, like Expand.
func (t Template) ExpandNotification(notification Notification, escape func(string) string) (string, error) {
	return t.expand(func(r Reference) (string, bool) { return r.ofNotification(notification) }, escape)
}

func (t Template) expand(value func(Reference) (value string, known bool), escape func(string) string) (string, error) {
	if t.fault != nil {
		return "", Permanent(t.fault)
	}
	var text strings.Builder
	for _, part := range t.parts {
		if part.reference == nil {
			text.WriteString(part.literal)
			continue
		}
		value, known := part.reference.orOtherwise(value(*part.reference))
		switch {
		case !known && part.reference.Step != "":
			return "", Permanent(fmt.Errorf("expanding ${%s}: step %s has recorded no output %s", part.reference.Name, part.reference.Step, part.reference.Output))
		case !known: // The config has refused it.
			return "", Permanent(fmt.Errorf("expanding ${%s}: a template cannot contain this reference here", part.reference.Name))
		}
		if escape != nil {
			value = escape(value)
		}
		text.WriteString(value)
	}
	return text.String(), nil
}

// Preview is like Expand for a step that has not run: it leaves a reference to an absent output as
// written.
func (t Template) Preview(target Target) string {
	var text strings.Builder
	for _, part := range t.parts {
		if part.reference == nil {
			text.WriteString(part.literal)
		} else if value, known := part.reference.orOtherwise(part.reference.ofTarget(target)); known {
			text.WriteString(value)
		} else {
			text.WriteString("${" + part.reference.Name + "}")
		}
	}
	return text.String()
}

// orOtherwise returns the text after ":-" for a value that is empty or absent, if the reference has one.
func (r Reference) orOtherwise(value string, known bool) (string, bool) {
	if value == "" && r.otherwise != nil {
		return *r.otherwise, true
	}
	return value, known
}

// ofTarget returns the value of the reference in a step, and whether there is one.
func (r Reference) ofTarget(target Target) (value string, known bool) {
	switch r.Name {
	case "node.name":
		return target.Node.Name, true
	case "node.uid":
		return string(target.Node.UID), true
	case "node.providerID":
		return target.Node.Spec.ProviderID, true
	case "node.labels":
		return target.Node.Labels[r.key], true
	case "node.annotations":
		return target.Node.Annotations[r.key], true
	case "run.deletedBy":
		return target.DeletedBy, true
	case "step.name":
		return target.Step, true
	case "step.startedAt":
		return target.Began.UTC().Format(time.RFC3339), true
	case "step.attempt":
		return strconv.Itoa(target.Attempt), true
	case "step.idempotencyKey":
		return target.IdempotencyKey, true
	}
	value, known = target.Outputs[r.Step][r.Output]
	return value, known
}

// ofNotification returns the value of the reference in a notification, and whether there is one.
func (r Reference) ofNotification(notification Notification) (value string, known bool) {
	switch strings.TrimPrefix(r.Name, notificationPrefix) {
	case "name":
		return notification.Name, true
	case "key":
		return notification.Key, true
	case "id":
		return notification.ID, true
	case "reference":
		return notification.Reference, true
	case "title":
		return notification.Title, true
	case "text":
		return notification.Text, true
	case "nodes":
		return strconv.Itoa(notification.Nodes), true
	case "deletedBy":
		return notification.DeletedBy, true
	case "status":
		return notification.Status(), true
	}
	return "", false
}
