package alertmanager

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// matcher is a condition for one label of an alert, as the API of Alertmanager has it.
type matcher struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	IsRegex bool   `json:"isRegex"`
	// IsEqual is false for the operators "!=" and "!~".
	IsEqual bool `json:"isEqual"`
}

var (
	// matcherHead is the part of a matcher before its value: the name of the label, and the operator.
	matcherHead = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*"`)
	// matcherText is a complete matcher.
	matcherText = regexp.MustCompile(matcherHead.String() + `((?:[^"\\]|\\.)*)"\s*$`)
	// unquote and quote are the escapes inside the quotation marks. A backslash before any other character is itself,
	// so a regular expression needs no second one.
	unquote = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")
	quote   = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
)

// parseMatcher reads the form NAME="VALUE". A matcher with "=" or "=~" must not match alerts without the label:
// https://prometheus.io/docs/alerting/latest/configuration/#matcher.
func parseMatcher(text string) (matcher, error) {
	parts := matcherText.FindStringSubmatch(text)
	if parts == nil {
		return matcher{}, errors.New(`must be NAME="VALUE", with one of the operators =, !=, =~ and !~`)
	}
	m := matcher{Name: parts[1], Value: unquote.Replace(parts[3]), IsRegex: strings.HasSuffix(parts[2], "~"), IsEqual: parts[2][0] == '='}
	matchesEmpty := m.Value == ""
	if m.IsRegex {
		pattern, err := regexp.Compile("^(?:" + m.Value + ")$")
		if err != nil {
			return matcher{}, errors.New("has a regular expression that is not valid")
		}
		matchesEmpty = pattern.MatchString("")
	}
	if m.IsEqual && matchesEmpty {
		return matcher{}, fmt.Errorf("matches every alert without the label %s", m.Name)
	}
	return m, nil
}

// String returns the form NAME="VALUE", which the parameter filter of the API takes.
func (m matcher) String() string {
	operator := "="
	if !m.IsEqual {
		operator = "!"
	}
	switch {
	case m.IsRegex:
		operator += "~"
	case !m.IsEqual:
		operator += "="
	}
	return m.Name + operator + `"` + quote.Replace(m.Value) + `"`
}

// sameMatchers reports whether two lists are equal in any order.
func sameMatchers(a, b []matcher) bool {
	sorted := func(list []matcher) []matcher {
		return slices.SortedFunc(slices.Values(list), func(a, b matcher) int { return cmp.Compare(a.String(), b.String()) })
	}
	return slices.Equal(sorted(a), sorted(b))
}

// matcherFaults returns what is wrong with the matchers for every Node.
func (o *options) matcherFaults() []error {
	var faults []error
	ofNode := false
	for i, template := range o.Matchers {
		own, problem := checkMatcher(template)
		if problem != "" {
			faults = append(faults, cleanup.OptionError{Path: fmt.Sprintf("matchers[%d]", i), Problem: problem})
		}
		ofNode = ofNode || own || problem != ""
	}
	if !ofNode {
		faults = append(faults, cleanup.OptionError{Path: "matchers", Problem: `one of them must select the alerts of the Node with "=" or "=~" and a reference, such as node="${node.name}"`})
	}
	return faults
}

// checkMatcher returns the fault of a matcher, and whether it selects the alerts of one Node.
func checkMatcher(template cleanup.Template) (ofNode bool, problem string) {
	if problem := template.Problem(); problem != "" {
		return false, problem
	}
	var text strings.Builder
	template.Each(func(literal string) { text.WriteString(literal) }, func(reference cleanup.Reference) {
		switch {
		case !strings.HasPrefix(reference.Name, "node."):
			problem = fmt.Sprintf("${%s}: a matcher can refer only to the Node", reference.Name)
		case !matcherHead.MatchString(text.String()):
			problem = "can have references only inside the quotation marks"
		}
		ofNode = true
		text.WriteString("x") // A value, to check the rest of the text.
	})
	if problem != "" {
		return false, problem
	}
	m, err := parseMatcher(text.String())
	if err != nil {
		return false, err.Error()
	}
	return ofNode && m.IsEqual, ""
}

// expand returns the matchers for a Node. A reference without a value is a permanent error, because the matcher would
// select alerts of other Nodes. The values are literal text, also in a regular expression.
func (o *options) expand(target cleanup.Target) ([]matcher, error) {
	var matchers []matcher
	for _, template := range o.Matchers {
		isRegex, isEmpty := false, false
		if head := matcherHead.FindStringSubmatch(template.String()); head != nil {
			isRegex = strings.HasSuffix(head[2], "~")
		}
		text, err := template.Expand(target, func(value string) string {
			isEmpty = isEmpty || value == ""
			if isRegex {
				value = regexp.QuoteMeta(value)
			}
			return quote.Replace(value)
		})
		if err == nil && isEmpty {
			err = errors.New("a reference has no value, so it would match alerts of other nodes")
		}
		var parsed matcher
		if err == nil {
			parsed, err = parseMatcher(text)
		}
		if err != nil {
			return nil, cleanup.Permanent(fmt.Errorf("matcher %s: %w", template.String(), err))
		}
		matchers = append(matchers, parsed)
	}
	return matchers, nil
}
