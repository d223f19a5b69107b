package httpclient

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// PercentEncode escapes everything but the unreserved characters of RFC 3986, so that the value stays one segment of a
// path, or one value of a query. It serves as the escape of Template.Expand.
func PercentEncode(value string) string {
	return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

// EscapeJSON escapes a value for a place inside quotes. It serves as the escape of Template.Expand.
func EscapeJSON(value string) string {
	quoted, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("encoding a string cannot fail: %v", err))
	}
	return string(quoted[1 : len(quoted)-1])
}

// Sample expands a template with "1" for every value, which can stand in a JSON text and in a JSON number. A plugin checks
// the syntax of its options with it.
func Sample(template cleanup.Template) string {
	text := ""
	template.Each(func(literal string) { text += literal }, func(cleanup.Reference) { text += "1" })
	return text
}
