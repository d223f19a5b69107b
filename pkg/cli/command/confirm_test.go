package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestConfirm(t *testing.T) {
	for name, test := range map[string]struct {
		answer      string
		interactive bool
		want        int
	}{
		"yes":          {"y\n", true, exit.OK},
		"yes in full":  {" YES \n", true, exit.OK},
		"no":           {"n\n", true, exit.Declined},
		"empty line":   {"\n", true, exit.Declined},
		"end of input": {"", true, exit.Declined},
		"no terminal":  {"y\n", false, exit.Usage},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			environment := &Environment{
				IOStreams:   genericiooptions.IOStreams{In: strings.NewReader(test.answer), Out: &out, ErrOut: &errOut},
				Interactive: test.interactive,
			}
			err := environment.Confirm(t.Context(), "Really?")
			if got := exit.Code(t.Context(), err); got != test.want {
				t.Errorf("exit code %d, want %d: %v", got, test.want, err)
			}
			if out.Len() > 0 {
				t.Errorf("the question is on stdout: %q", out.String())
			}
			if test.interactive != strings.Contains(errOut.String(), "Really?") {
				t.Errorf("stderr: %q", errOut.String())
			}
		})
	}
}

func TestConfirmEndsWithTheContext(t *testing.T) {
	silent, write := io.Pipe() // nobody answers
	defer write.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	environment := &Environment{IOStreams: genericiooptions.IOStreams{In: silent, ErrOut: io.Discard}, Interactive: true}
	if err := environment.Confirm(ctx, "Really?"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What cannot be taken back needs the word itself: a habit of answering y is not enough.
func TestConfirmByTyping(t *testing.T) {
	for answer, want := range map[string]int{
		"ip-10-0-7\n": exit.OK, " ip-10-0-7 \n": exit.OK, "ip-10-0-8\n": exit.Declined, "IP-10-0-7\n": exit.Declined, "y\n": exit.Declined, "yes\n": exit.Declined, "\n": exit.Declined, "": exit.Declined,
	} {
		var errOut bytes.Buffer
		environment := &Environment{IOStreams: genericiooptions.IOStreams{In: strings.NewReader(answer), Out: io.Discard, ErrOut: &errOut}, Interactive: true}
		err := environment.ConfirmByTyping(t.Context(), "Release the node?", "ip-10-0-7")
		if got := exit.Code(t.Context(), err); got != want {
			t.Errorf("%q: exit code %d, want %d: %v", answer, got, want, err)
		}
		if !strings.Contains(errOut.String(), "Release the node? Type ip-10-0-7 to continue: ") {
			t.Errorf("it asks %q", errOut.String())
		}
	}
	environment := &Environment{IOStreams: genericiooptions.IOStreams{In: strings.NewReader("ip-10-0-7\n"), Out: io.Discard, ErrOut: io.Discard}}
	if err := environment.ConfirmByTyping(t.Context(), "Release the node?", "ip-10-0-7"); exit.Code(t.Context(), err) != exit.Usage {
		t.Errorf("without a terminal: %v", err)
	}
}
