package http

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"k8s.io/client-go/util/jsonpath"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// maxAnswer is how much of an answer is read for the outputs, in bytes.
const maxAnswer = 64 << 10

func parsePath(name, text string) (*jsonpath.JSONPath, error) {
	if !strings.Contains(text, "{") {
		text = "{" + text + "}" // As kubectl wait --for=jsonpath accepts it.
	}
	path := jsonpath.New(name)
	if err := path.Parse(text); err != nil {
		return nil, fmt.Errorf("parsing the JSONPath: %w", err)
	}
	return path, nil
}

// OutputNames implements cleanup.OutputNamer.
func (p *plugin) OutputNames() []string {
	return append([]string{}, slices.Sorted(maps.Keys(p.Outputs))...)
}

// recordOutputs records the outputs of a successful answer. The other system has done the work already:
// an output that is missing fails only the steps that use it, and the log says so.
func (p *plugin) recordOutputs(body io.Reader, target cleanup.Target) {
	if len(p.Outputs) == 0 {
		return
	}
	answer, err := decode(body)
	if err != nil {
		target.Log.Warn("the answer has no outputs: it is not JSON of at most 64 KiB", "url", p.where(), "err", p.conceal(err))
		return
	}
	for _, name := range p.OutputNames() {
		value, err := find(name, p.Outputs[name], answer)
		if err == nil {
			err = target.Output(name, value)
		}
		if err != nil {
			target.Log.Warn("the answer lacks an output", "url", p.where(), "output", name, "err", err)
		}
	}
}

func decode(body io.Reader) (answer any, err error) {
	decoder := json.NewDecoder(io.LimitReader(body, maxAnswer))
	decoder.UseNumber()
	err = decoder.Decode(&answer)
	return answer, err
}

// find returns the value at a path. Its error contains no part of the answer.
func find(name, text string, answer any) (string, error) {
	path, err := parsePath(name, text)
	if err != nil {
		return "", err
	}
	var value bytes.Buffer
	if err := path.Execute(&value, answer); err != nil || value.Len() == 0 {
		return "", fmt.Errorf("there is nothing at %s", text)
	}
	return value.String(), nil
}
