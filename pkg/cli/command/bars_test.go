package command

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const up = "\x1b[%dA\x1b[J"

func TestBarsStayBelowOtherOutput(t *testing.T) {
	var terminal bytes.Buffer
	environment := &Environment{IOStreams: genericiooptions.IOStreams{Out: &terminal, ErrOut: &terminal}, Columns: func() int { return 12 }}
	results := environment.NewResults(true)
	results.Bar("b", "1/4")
	results.Bar("b", "1/4") // Nothing has changed.
	results.Bar("a", "██ 12345678")
	results.Progress("b", "blocked")
	results.Done("node/a cleaned up")
	results.Bar("a", "")
	results.Failed(errors.New("no"))
	results.Bar("b", "")
	want := "b: 1/4\n" +
		fmt.Sprintf(up, 1) + "a: ██ 12345\nb: 1/4\n" +
		fmt.Sprintf(up, 2) + "b: blocked\na: ██ 12345\nb: 1/4\n" +
		fmt.Sprintf(up, 2) + "node/a cleaned up\na: ██ 12345\nb: 1/4\n" +
		fmt.Sprintf(up, 2) + "b: 1/4\n" +
		fmt.Sprintf(up, 1) + "Error: no\nb: 1/4\n" +
		fmt.Sprintf(up, 1)
	if terminal.String() != want {
		t.Errorf("got  %q\nwant %q", terminal.String(), want)
	}
}

func TestBarsAreBounded(t *testing.T) {
	var terminal bytes.Buffer
	results := (&Environment{IOStreams: genericiooptions.IOStreams{ErrOut: &terminal}, Columns: func() int { return 80 }}).NewResults(true)
	for i := range 12 {
		results.Bar(fmt.Sprintf("n%02d", i), "0/1")
	}
	if want := "n09: 0/1\nand 2 more nodes\n"; !bytes.HasSuffix(terminal.Bytes(), []byte(want)) {
		t.Errorf("it ends with %q, want %q", terminal.Bytes()[terminal.Len()-60:], want)
	}
}
