package pause

import (
	"bytes"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
)

func TestResumeNamesTheNextWindow(t *testing.T) {
	opens := metav1.NewTime(time.Date(2026, 12, 1, 1, 0, 0, 0, time.UTC))
	for want, brake := range map[string]api.Brake{
		"": {},
		"Cleanups begin when the next maintenance window opens, at 2026-12-01T01:00:00Z.\n": {WindowOpensAt: &opens},
	} {
		var errOut bytes.Buffer
		o := &Options{Environment: &command.Environment{IOStreams: genericiooptions.IOStreams{ErrOut: &errOut}}}
		o.sayWindow(brake)
		if errOut.String() != want {
			t.Errorf("it says %q, want %q", errOut.String(), want)
		}
	}
}
