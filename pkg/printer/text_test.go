package printer

import (
	"bytes"
	"errors"
	"testing"
)

func TestTableAlignsByDisplayWidth(t *testing.T) {
	rows := [][]Cell{Cells("NODE", "STATE", "REASON"), {{Text: "ü"}, {Text: "Failed", Tone: Bad}, {Text: ""}}, Cells("longer", "ok", "x")}
	for colour, want := range map[bool]string{
		false: "NODE     STATE    REASON\nü        Failed\nlonger   ok       x\n",
		true:  "NODE     STATE    REASON\nü        \x1b[31mFailed\x1b[0m\nlonger   ok       x\n",
	} {
		var out bytes.Buffer
		(&Text{out: &out, colour: colour}).Table(rows)
		if out.String() != want {
			t.Errorf("colour %v: got %q, want %q", colour, out.String(), want)
		}
	}
}

// broken cannot be written as JSON.
type broken struct{ F func() }

func (broken) Text(*Text)      {}
func (broken) Names() []string { return nil }

func TestFailedViewPrintsNothing(t *testing.T) {
	var out bytes.Buffer
	for _, format := range []Format{JSON, YAML, "nonsense"} {
		if err := Print(&out, format, false, broken{F: func() {}}); err == nil {
			t.Errorf("%s: no error", format)
		}
	}
	if out.Len() > 0 {
		t.Errorf("printed %q", out.String())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("disk full")

func TestPrintReportsAFailedWrite(t *testing.T) {
	if err := Print(full{}, JSON, false, NewVersion("v1")); !errors.Is(err, errFull) {
		t.Errorf("views: %v", err)
	}
	if err := Objects(full{}, JSON, nil); !errors.Is(err, errFull) {
		t.Errorf("objects: %v", err)
	}
}
