package printer

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Diagnosis is the view of why a deleted node still exists.
type Diagnosis struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Time       metav1.Time `json:"time"`
	Node       string      `json:"node"`
	NodeUID    string      `json:"nodeUID,omitempty"`
	// Question is the question that the diagnosis answers. It depends on whether the node is being
	// deleted.
	Question string `json:"question"`
	State    string `json:"state,omitempty"`
	// Facts in the order in which they happened.
	Facts []Fact `json:"facts"`
	// Causes, the one to begin with first. Empty if nothing is wrong.
	Causes []Cause `json:"causes"`
	// Holding are the finalizers on the node with their owners.
	Holding []string `json:"holding,omitempty"`
	// Remarks are faults that do not hold this node.
	Remarks []string `json:"remarks,omitempty"`
	// Evidence lists the objects that were read.
	Evidence []string `json:"evidence"`
	// NotChecked lists the objects that could not be read. A cause may be missing because of
	// them.
	NotChecked []Unread `json:"notChecked,omitempty"`
	Events     []string `json:"events,omitempty"`
}

// Unread is an object that could not be read.
type Unread struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Fact is something that has happened or has not.
type Fact struct {
	// Outcome is Pass, Error, Underway, or Skip if it has not begun.
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text"`
}

// Cause is one reason why the node still exists.
type Cause struct {
	// ID stays the same between versions.
	ID   string `json:"id"`
	Text string `json:"text"`
	// Options are the next steps, as commands if possible.
	Options []string `json:"options,omitempty"`
}

// NewDiagnosis returns an empty view.
func NewDiagnosis(node string, now time.Time) *Diagnosis {
	return &Diagnosis{APIVersion: APIVersion, Kind: "Diagnosis", Time: metav1.NewTime(now), Node: node, Facts: []Fact{}, Causes: []Cause{}, Evidence: []string{}}
}

// Text answers the question.
func (d *Diagnosis) Text(text *Text) { d.write(text, 3) }

// Wide writes every Event too.
func (d *Diagnosis) Wide(text *Text) { d.write(text, len(d.Events)) }

func (d *Diagnosis) write(text *Text, events int) {
	line := func(label string, content any) { text.Line("%-9s %s", label, content) }
	text.Line("%s", d.Question)
	for _, fact := range d.Facts {
		text.Line("  %s %s", text.paint(marks[fact.Outcome]), fact.Text)
	}
	for i, cause := range d.Causes {
		name := "Cause:"
		if i > 0 {
			name = "Also:"
		}
		line(name, text.paint(Cell{Text: cause.Text, Tone: Bad}))
		// One option a line, so that each can be pasted.
		for i, option := range cause.Options {
			name := "Fix:"
			if i > 0 {
				name = "   or:"
			}
			line(name, option)
		}
	}
	if len(d.Holding) > 0 {
		line("Holding:", joined(d.Holding))
	}
	for _, remark := range d.Remarks {
		line("Remark:", remark)
	}
	evidence := slices.Clone(d.Evidence)
	for _, unread := range d.NotChecked {
		evidence = append(evidence, fmt.Sprintf("%s NOT checked: %s", unread.What, unread.Why))
	}
	line("Evidence:", joined(evidence))
	for _, event := range d.Events[max(0, len(d.Events)-events):] {
		text.Line("          %s", event)
	}
}

// Short writes the first cause, and the objects that could not be read.
func (d *Diagnosis) Short(text *Text) {
	said := "nothing is wrong"
	switch {
	case len(d.Causes) > 0:
		said = fmt.Sprintf("%s: %s", d.Causes[0].ID, d.Causes[0].Text)
	case len(d.NotChecked) > 0:
		said = "no cause found"
	}
	if len(d.NotChecked) > 0 {
		var unread []string
		for _, one := range d.NotChecked {
			unread = append(unread, one.What)
		}
		said += "; not checked: " + joined(unread)
	}
	text.Line("%s: %s", d.Node, said)
}

// Names returns the causes.
func (d *Diagnosis) Names() []string {
	var names []string
	for _, cause := range d.Causes {
		names = append(names, "cause/"+cause.ID)
	}
	return names
}
