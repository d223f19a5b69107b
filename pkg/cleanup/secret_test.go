package cleanup_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestValueReplacesItsDefault(t *testing.T) {
	for data, want := range map[string]cleanup.Value{
		`"text"`: cleanup.Literal("text"),
		`{"secretKeyRef":{"name":"s","key":"k"}}`: cleanup.FromSecret("s", "k"),
		`null`: {},
	} {
		for _, value := range []cleanup.Value{cleanup.Literal("default"), cleanup.FromSecret("default", "default")} {
			if err := json.Unmarshal([]byte(data), &value); err != nil || !reflect.DeepEqual(value, want) {
				t.Errorf("%s gives %+v, error %v", data, value, err)
			}
		}
	}
}
