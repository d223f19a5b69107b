package cmdb

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-openapi/jsonpointer"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

func newAPI(o options, client *http.Client, secrets cleanup.Secrets) *httpclient.API {
	return &httpclient.API{
		System: "the inventory", URL: o.URL, Client: client, Credentials: credentials(o.Headers, secrets), Secrets: secrets,
		TLS: httpclient.TLS{CABundle: o.CABundle},
	}
}

// credentials sends headers. Their values from Secrets appear in no error.
func credentials(headers map[string]cleanup.Value, secrets cleanup.Secrets) httpclient.Credentials {
	return func(ctx context.Context) (http.Header, []string, error) {
		all, hidden := http.Header{}, []string(nil)
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			header, values, err := httpclient.Header(secrets, name, "", headers[name])(ctx)
			if err != nil {
				return nil, nil, fmt.Errorf("header %s: %w", name, err)
			}
			maps.Copy(all, header)
			if _, secret := headers[name].SecretKey(); secret {
				hidden = append(hidden, values...)
				// A server can repeat the token of "Bearer TOKEN" alone.
				for _, value := range values {
					hidden = append(hidden, strings.Fields(value)[1:]...)
				}
			}
		}
		return all, hidden, nil
	}
}

// pointerProblem returns the fault of a JSON pointer, or "".
func pointerProblem(pointer string) string {
	if _, err := jsonpointer.New(pointer); err != nil {
		return fmt.Sprintf("%q is not a JSON pointer, which begins with /", pointer)
	}
	return ""
}

// at returns the value at a JSON pointer, and whether there is one.
func at(document any, pointer string) (value any, found bool) {
	parsed, err := jsonpointer.New(pointer)
	if err != nil {
		return nil, false // Validate has refused it.
	}
	value, _, err = parsed.Get(document)
	return value, err == nil
}

// text returns a string, a number or a boolean as text, and whether the value is one of them.
func text(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case json.Number:
		return value.String(), true
	case bool:
		return fmt.Sprint(value), true
	}
	return "", false
}

// candidates returns the records in an answer: a list, or one record.
func candidates(answer any, results string) ([]any, error) {
	value, found := at(answer, results)
	if !found {
		return nil, fmt.Errorf("the answer has nothing at lookup.results, %q", results)
	}
	switch value := value.(type) {
	case []any:
		return value, nil
	case map[string]any:
		return []any{value}, nil
	case nil:
		return nil, nil
	}
	return nil, fmt.Errorf("the answer has neither a list nor an object at lookup.results, %q", results)
}

// choose returns the ID of the one record that has all values, "" if there is none.
func choose(records []any, match map[string]string, idPointer string) (id string, err error) {
	var ids []string
	for _, one := range records {
		if !matches(one, match) {
			continue
		}
		value, _ := at(one, idPointer)
		id, is := text(value)
		if !is || id == "" || id == "." || id == ".." {
			return "", cleanup.Permanent(fmt.Errorf("the record has no ID at lookup.id, %q", idPointer))
		}
		if !slices.Contains(ids, id) { // Some APIs repeat a record on a join.
			ids = append(ids, id)
		}
	}
	switch len(ids) {
	case 0:
		return "", nil
	case 1:
		return ids[0], nil
	}
	return "", cleanup.Permanent(fmt.Errorf("the inventory has %d records of the node: %s. Add values to lookup.match that only one has", len(ids), strings.Join(ids[:min(len(ids), 5)], ", ")))
}

func matches(record any, match map[string]string) bool {
	for pointer, want := range match {
		value, _ := at(record, pointer)
		if got, is := text(value); !is || got != want {
			return false
		}
	}
	return true
}
