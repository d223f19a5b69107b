package main

import (
	"slices"
	"testing"
)

func TestCheck(t *testing.T) {
	entries, err := parse(`
# a comment
crowd             | all  | bulk
goes              | name | delete
is/was told       | text | is reported
first hand        | all  | uncached
`)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file, source string
		want         []finding
	}{
		"identifier":                  {"a.go", "package a\n\nvar inCrowd int\n", []finding{{3, "inCrowd", "bulk"}}},
		"exported identifier":         {"a.go", "package a\nfunc TestInACrowdAll() {}\n", []finding{{2, "TestInACrowdAll", "bulk"}}},
		"identifier after an acronym": {"a.go", "package a\nvar HTTPCrowd int\n", []finding{{2, "HTTPCrowd", "bulk"}}},
		"identifier of two words":     {"a.go", "package a\nvar readFirstHand int\n", []finding{{2, "readFirstHand", "uncached"}}},
		"part of a word":              {"a.go", "package a\nvar amended int // is amended\n", nil},
		"comment":                     {"a.go", "package a\n// It Is told.\n", []finding{{2, "Is told", "is reported"}}},
		"comment of two lines":        {"a.go", "package a\n// It was\n// told.\n", []finding{{2, "was told", "is reported"}}},
		"string":                      {"a.go", "package a\nconst x = \"it is told\"\n", []finding{{2, "is told", "is reported"}}},
		"string with a line break":    {"a.go", "package a\nconst x = \"it is\\ntold\"\n", []finding{{2, `is told`, "is reported"}}},
		"raw string":                  {"a.go", "package a\nconst x = `\nit is told`\n", []finding{{3, "is told", "is reported"}}},
		"strings that are joined":     {"a.go", "package a\nconst x = \"it is \" +\n\t\"told\"\n", []finding{{2, "is told", "is reported"}}},
		"two strings":                 {"a.go", "package a\nvar x = []string{\"is\", \"told\"}\n", nil},
		"hyphen":                      {"a.md", "read first-hand\n", []finding{{1, "first-hand", "uncached"}}},
		"only a name, in text":        {"a.go", "package a\n// The packet goes out.\n", nil},
		"only a name, in a name":      {"a.go", "package a\nfunc nodeGoes() {}\n", []finding{{2, "nodeGoes", "delete"}}},
		"only text, in a name":        {"a.go", "package a\nvar isTold bool\n", nil},
		"only one word of a phrase":   {"a.md", "Nothing is said. Told apart.\n", nil},
		"YAML":                        {"a.yaml", "# it is\n# told\na: 1\n", []finding{{1, "is told", "is reported"}}},
		"snake case in text":          {"a.yaml", "nodes_crowd_total: 1\n", nil},
		"name of a file":              {"dir/crowd_test.go", "package a\n", []finding{{1, "crowd_test", "bulk"}}},
	} {
		if got := check(entries, test.file, []byte(test.source)); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestParseRejectsAMalformedList(t *testing.T) {
	for _, list := range []string{"old | all", "old | everywhere | new"} {
		if _, err := parse(list); err == nil {
			t.Errorf("%q is accepted", list)
		}
	}
}

// Sentences that the list must leave alone.
func TestListHasNoFalsePositives(t *testing.T) {
	entries, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{
		"package a\nimport \"k8s.io/kubectl/pkg/util/term\"\nvar tty = term.TTY{}\n",
		"package a\n// The request goes through the proxy. Ports are well known. It works as well.\n",
		"package a\n// HTTP 410 Gone means that the resource version is too old.\nvar _ = errors.IsGone\n",
		"package a\n// Keep the old value. Two minutes are left. The command exits because the test is passing.\n",
		"package a\n// The Lease is in good standing order. It turns off the check.\n",
	} {
		if found := check(entries, "a.go", []byte(source)); len(found) > 0 {
			t.Errorf("%s: found %+v", source, found)
		}
	}
}
