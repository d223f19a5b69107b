package config

import (
	"cmp"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// secretsIn returns the secret keys in the options, from any secretKeyRef, sorted and without
// duplicates. It does not check them: the plugin does.
func secretsIn(options any) []cleanup.SecretKey {
	var found []cleanup.SecretKey
	switch value := options.(type) {
	case map[string]any:
		for key, element := range value {
			reference, is := element.(map[string]any)
			if key != "secretKeyRef" || !is {
				found = append(found, secretsIn(element)...)
				continue
			}
			name, _ := reference["name"].(string)
			in, _ := reference["key"].(string)
			found = append(found, cleanup.SecretKey{Name: name, Key: in})
		}
	case []any:
		for _, element := range value {
			found = append(found, secretsIn(element)...)
		}
	}
	slices.SortFunc(found, func(a, b cleanup.SecretKey) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Key, b.Key))
	})
	return slices.Compact(found)
}
