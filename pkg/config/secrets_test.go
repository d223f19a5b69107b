package config

import (
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestReferencedSecretsAreFound(t *testing.T) {
	var options rawOptions
	if err := yaml.Unmarshal([]byte(`
url: {secretKeyRef: {name: slack, key: url}}
headers:
  Authorization: {secretKeyRef: {name: inventory, key: token}}
  Again: {secretKeyRef: {name: inventory, key: token}}
list: [{value: {secretKeyRef: {name: inventory, key: cert}}}, plain]
secretKeyRef: no reference
`), &options); err != nil {
		t.Fatal(err)
	}
	want := []cleanup.SecretKey{{Name: "inventory", Key: "cert"}, {Name: "inventory", Key: "token"}, {Name: "slack", Key: "url"}}
	if got := secretsIn(options.values); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
