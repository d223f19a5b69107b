package operate_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// nanoseconds matches a duration or a time that is too precise for people.
var nanoseconds = regexp.MustCompile(`\d\.\d{4,}m?s|:\d\d\.\d+(Z|[+-]\d)`)

// ran is the result of a command.
type ran struct {
	*fixture
	out, errOut string
	code        int
}

// run runs a command as an administrator.
func (f *fixture) run(arguments ...string) ran {
	f.Helper()
	return f.runAs(shared.Kubeconfig(), arguments...)
}

func (f *fixture) runAs(kubeconfig string, arguments ...string) ran {
	f.Helper()
	result := f.silently(kubeconfig, arguments...)
	f.Logf("kubectl nodecleanup %s [exit %d]\n%s%s", strings.Join(arguments, " "), result.code, result.out, result.errOut)
	return result
}

// quietly runs a command that is repeated often, as an administrator.
func (f *fixture) quietly(arguments ...string) ran {
	return f.silently(shared.Kubeconfig(), arguments...)
}

func (f *fixture) silently(kubeconfig string, arguments ...string) ran {
	var out, errOut bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}
	err := cli.Execute(f.Context(), streams, append(arguments, "--kubeconfig", kubeconfig))
	if long := nanoseconds.FindString(out.String() + errOut.String()); long != "" && !slices.Contains(arguments, "-o") {
		f.Errorf("%v prints a time as %s", arguments, long)
	}
	return ran{fixture: f, out: out.String(), errOut: errOut.String(), code: exit.Code(f.Context(), err)}
}

// complete completes a line as a shell does. The line contains its own kubeconfig.
func (f *fixture) complete(words ...string) ran {
	var out, errOut bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}
	err := cli.Execute(f.Context(), streams, words)
	return ran{fixture: f, out: out.String(), errOut: errOut.String(), code: exit.Code(f.Context(), err)}
}

// exits wants an exit code.
func (r ran) exits(code int) ran {
	r.Helper()
	if r.code != code {
		r.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.out, r.errOut)
	}
	return r
}

// says wants texts on stdout or stderr.
func (r ran) says(texts ...string) ran {
	r.Helper()
	for _, text := range texts {
		if !strings.Contains(r.out+r.errOut, text) {
			r.Errorf("missing %q in:\n%s%s", text, r.out, r.errOut)
		}
	}
	return r
}

// into decodes the JSON on stdout.
func (r ran) into(view any) {
	r.Helper()
	if err := json.Unmarshal([]byte(r.out), view); err != nil {
		r.Fatalf("reading the output: %v in %s", err, r.out)
	}
}
