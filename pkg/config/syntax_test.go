package config

import (
	"strings"
	"testing"
)

func TestSyntaxErrorNamesTheLineOfTheProblem(t *testing.T) {
	const valid = `# Every field is in docs/config.md; which deletions can be refused, in docs/guard.md.
apiVersion: nodecleanup.io/v1alpha1
kind: Config
guard:
  controlPlane: allow
  lastSchedulable: allow
steps:
- name: drain
  critical: true
  plugin: drain
  timeout: 30m
- name: volumes
  critical: true
  dependsOn:
  - drain
  plugin: volumes
- name: log
  critical: false
  dependsOn:
  - volumes
  plugin: logger
`
	const line16 = "  plugin: volumes\n"
	for name, test := range map[string]struct{ line, want string }{
		"too little indentation":  {" plugin: volumes\n", "line 16: did not find expected key"},
		"too much indentation":    {"    plugin: volumes\n", "line 16: mapping values are not allowed in this context"},
		"tab":                     {"\tplugin: volumes\n", "line 16: found a tab character that violates indentation"},
		"tab in a block":          {"  plugin: |\n  \tvolumes\n", "line 17: found a tab character where an indentation space is expected"},
		"open quote":              {"  plugin: \"volumes\n", "line 16: found unexpected end of stream"},
		"unknown escape":          {"  plugin: \"vol\n\n    umes\\q\"\n", "line 18: found unknown escape character"},
		"no colon":                {"  plugin volumes\n", "line 16: could not find expected ':'"},
		"two colons":              {"  plugin: volumes: a\n", "line 16: mapping values are not allowed in this context"},
		"text after a quote":      {"  plugin: 'volumes' a\n", "line 16: did not find expected key"},
		"two closing brackets":    {"  plugin: [a]]\n", "line 16: did not find expected key"},
		"open bracket":            {"  plugin: [volumes\n", "near line 16: did not find expected ',' or ']'"},
		"open brace":              {"  plugin: {a: b\n", "near line 16: did not find expected ',' or '}'"},
		"unknown anchor":          {"  plugin: *volumes\n", "line 16: unknown anchor 'volumes' referenced"},
		"control character":       {"  plugin: vol\x01umes\n", "line 16: control characters are not allowed"},
		"item in a mapping":       {line16 + "  - name: [unclosed\n", "line 17: did not find expected key"},
		"in a file with CR LF":    {"x", "line 16: did not find expected key"},
		"comment before the line": {"# comment\n plugin: volumes\n", "line 17: did not find expected key"},
	} {
		t.Run(name, func(t *testing.T) {
			config := strings.Replace(valid, line16, test.line, 1)
			if test.line == "x" {
				config = strings.ReplaceAll(strings.Replace(valid, line16, " plugin: volumes\n", 1), "\n", "\r\n")
			}
			if _, err := Parse([]byte(config), nil); err == nil || err.Error() != test.want {
				t.Errorf("got %q, want %q", err, test.want)
			}
		})
	}
	if _, err := Parse([]byte(valid+"  - name: [unclosed\n"), nil); err == nil || err.Error() != "line 22: did not find expected key" {
		t.Errorf("the last line: %q", err)
	}
}
