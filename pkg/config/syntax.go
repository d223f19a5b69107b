package config

import (
	"bytes"
	"regexp"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlOpen are the problems that yaml.v3 also reports at the end of a file, for a bracket that nothing closes.
var yamlOpen = regexp.MustCompile(`did not find expected (',' or|node content)`)

// syntaxError turns a syntax error of data into an Error with the line of the problem.
//
// The line in the text of yaml.v3 is another one: that of the context, such as the begin of the
// mapping, and for errors of its parser it counts from 0 (function fail in decode.go). yaml.v3 reads a
// file from its start and ends at the first error. So the problem is in the last line of the shortest
// beginning of the file that has the same error. If a bracket is open there, the problem can also be in
// a later line.
func syntaxError(data []byte, err error) Error {
	lines := bytes.SplitAfter(data, []byte("\n"))
	read := 0
	ends := make([]int, len(lines))
	for i, line := range lines {
		read += len(line)
		ends[i] = read
	}
	first := sort.Search(len(lines), func(i int) bool {
		got := yaml.Unmarshal(data[:ends[i]], &yaml.Node{})
		return got != nil && got.Error() == err.Error()
	})
	result := fromYAML(err.Error())
	result.Problem = strings.TrimPrefix(result.Problem, "yaml: ")
	result.Line, result.Near = min(first+1, len(lines)), yamlOpen.MatchString(result.Problem)
	return result
}
