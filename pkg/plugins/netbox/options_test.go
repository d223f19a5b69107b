package netbox

import (
	"errors"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	const valid = `"url":"https://netbox.example.com/sub","token":{"secretKeyRef":{"name":"netbox","key":"token"}}`
	if _, faults := Descriptor(nil, nil).Bind([]byte("{" + valid + "}")); len(faults) > 0 {
		t.Error(faults)
	}
	for options, want := range map[string]string{
		``:                              "url: is not a URL",
		`"url":"https://a"`:             "token: is required",
		`"url":"https://a","token":"x"`: "token: must be in a Secret",
		`"url":"https://a/api/"`:        "url: must be the root of NetBox",
		`"url":"https://me:x@a"`:        "url: must be the root of NetBox",
		valid + `,"caBundle":"x"`:       "caBundle: ",
		valid + `,"kind":"Rack"`:        "kind: must be one of Device, VirtualMachine",
		valid + `,"field":"id__gt"`:     "field: must be name, serial",
		valid + `,"field":"cf_a__n"`:    "field: must be name, serial",
		valid + `,"value":"${x}"`:       "value: has the unknown reference",
		valid + `,"value":""`:           "value: must not be empty",
		valid + `,"cluster":"a"`:        "cluster: applies only to the kind VirtualMachine",
		valid + `,"action":"Purge"`:     "action: must be one of SetStatus, Delete",
		valid + `,"status":""`:          "status: must be the value of a status",
		valid + `,"kind":"VirtualMachine","field":"asset_tag"`: "field: a virtual machine has no asset_tag",
	} {
		_, faults := Descriptor(nil, nil).Bind([]byte("{" + options + "}"))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}
