package netbox

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const (
	tokenV1 = "canary0123456789abcdef0123456789abcdef01"
	tokenV2 = "nbt_canarykey.canarytoken"
)

// netBox is a NetBox in memory. It refuses what the OpenAPI document of NetBox 4.3.0 does not allow. Its other rules
// are those of the sources that the methods name.
type netBox struct {
	t      *testing.T
	server *httptest.Server
	mutex  sync.Mutex
	// records by their path, such as /api/dcim/devices/.
	records map[string]map[int]map[string]any
	// custom are the names of the custom fields.
	custom []string
	// last is the highest ID so far. PostgreSQL uses none again.
	last, changes int
	// ignored are known filters that this version does not know.
	ignored []string
	// readOnly: the token may not write.
	readOnly bool
	plugintest.Override
	// afterSearch, if it is not nil, is called with the lock once a search has been answered.
	afterSearch func()
}

const (
	devices  = "/api/dcim/devices/"
	machines = "/api/virtualization/virtual-machines/"
)

func newNetBox(t *testing.T) *netBox {
	n := &netBox{t: t, records: map[string]map[int]map[string]any{devices: {}, machines: {}}, custom: []string{"machine_id"}}
	n.server = httptest.NewServer(n)
	t.Cleanup(n.server.Close)
	return n
}

// add adds a record, and returns its ID.
func (n *netBox) add(path string, fields map[string]any) int {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.last++
	id := n.last
	one := map[string]any{"id": id, "name": nil, "serial": "", "asset_tag": nil, "status": status("active"), "site": nil, "cluster": nil, "primary_ip4": nil, "primary_ip6": nil}
	custom := map[string]any{}
	for _, name := range n.custom {
		custom[name] = nil
	}
	maps.Copy(one, fields)
	if given, has := fields["custom_fields"].(map[string]any); has {
		maps.Copy(custom, given)
	}
	one["custom_fields"] = custom
	n.records[path][id] = one
	return id
}

// status is how NetBox writes a choice.
func status(value string) map[string]any {
	return map[string]any{"value": value, "label": strings.ToUpper(value[:1]) + value[1:]}
}

// statusOf returns the status of a record, "" if it does not exist.
func (n *netBox) statusOf(path string, id int) string {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if one := n.records[path][id]; one != nil {
		return one["status"].(map[string]any)["value"].(string)
	}
	return ""
}

func (n *netBox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n.Overrides(w, r) {
		return
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	writing := r.Method != http.MethodGet
	switch authorization := r.Header.Get("Authorization"); {
	// Version 2 is a bearer token, and version 1 is not: https://netboxlabs.com/docs/netbox/integrations/rest-api/#authentication.
	case authorization != "Token "+tokenV1 && authorization != "Bearer "+tokenV2:
		n.write(w, http.StatusForbidden, map[string]any{"detail": "Invalid token"})
		return
	case n.readOnly && writing:
		n.write(w, http.StatusForbidden, map[string]any{"detail": "You do not have permission to perform this action."})
		return
	// Django redirects; a change gets 404: https://github.com/netbox-community/netbox/issues/21906.
	case !strings.HasSuffix(r.URL.Path, "/") && writing:
		n.write(w, http.StatusNotFound, map[string]any{"detail": "Not found."})
		return
	case !strings.HasSuffix(r.URL.Path, "/"):
		http.Redirect(w, r, r.URL.Path+"/?"+r.URL.RawQuery, http.StatusMovedPermanently)
		return
	}
	if err := invalid(r); err != nil {
		n.t.Errorf("the OpenAPI document does not allow %s %s: %v", r.Method, r.URL, err)
		n.write(w, http.StatusBadRequest, map[string]any{"status": []string{strings.SplitN(err.Error(), "\n", 2)[0]}})
		return
	}
	if r.URL.Path == "/api/status/" {
		n.write(w, http.StatusOK, map[string]any{"netbox-version": "4.3.0"})
		return
	}
	for path, records := range n.records {
		if rest, under := strings.CutPrefix(r.URL.Path, path); under && rest == "" {
			n.list(w, r, records)
		} else if under {
			n.one(w, r, records, strings.TrimSuffix(rest, "/"))
		}
	}
}

func (n *netBox) list(w http.ResponseWriter, r *http.Request, records map[int]map[string]any) {
	var found []map[string]any
	for _, id := range slices.Sorted(maps.Keys(records)) {
		if n.passes(r, records[id]) {
			found = append(found, records[id])
		}
	}
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil {
		n.t.Error(err)
	}
	count := len(found)
	n.write(w, http.StatusOK, map[string]any{"count": count, "results": append([]map[string]any{}, found[:min(count, limit)]...)})
	if n.afterSearch != nil {
		n.afterSearch()
	}
}

// passes filters as NetBox does: it ignores unknown filters (netbox#21858) and empty ones, a custom field is found by
// a part of its value (netbox#19915), and letter case matters only for filters without __ie, except for serial
// (netbox/dcim/filtersets.py).
func (n *netBox) passes(r *http.Request, one map[string]any) bool {
	for name, values := range r.URL.Query() {
		value, passes := values[0], true
		text := func(field string) string { return fmt.Sprint(one[field]) }
		custom, isCustom := strings.CutPrefix(name, "cf_")
		switch {
		case value == "", slices.Contains(n.ignored, name):
		case name == "name", name == "asset_tag":
			passes = text(name) == value
		case name == "name__ie", name == "asset_tag__ie":
			passes = strings.EqualFold(text(strings.TrimSuffix(name, "__ie")), value)
		case name == "serial":
			passes = strings.EqualFold(text(name), value)
		case name == "site", name == "cluster":
			object, _ := one[name].(map[string]any)
			passes = object["slug"] == value || object["name"] == value
		case isCustom && slices.Contains(n.custom, custom):
			passes = strings.Contains(strings.ToLower(fmt.Sprint(one["custom_fields"].(map[string]any)[custom])), strings.ToLower(value))
		}
		if !passes {
			return false
		}
	}
	return true
}

func (n *netBox) one(w http.ResponseWriter, r *http.Request, records map[int]map[string]any, name string) {
	id, err := strconv.Atoi(name)
	if err != nil {
		n.t.Error(err)
	}
	one := records[id]
	if one == nil {
		n.write(w, http.StatusNotFound, map[string]any{"detail": "No Device matches the given query."})
		return
	}
	switch r.Method {
	case http.MethodDelete:
		delete(records, id)
		n.changes++
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodPatch:
		var patch map[string]any
		data, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(data, &patch) != nil || len(patch) != 1 {
			n.t.Errorf("PATCH with %s, %v", data, err)
		}
		one["status"] = status(patch["status"].(string))
		n.changes++
	}
	n.write(w, http.StatusOK, one)
}

func (n *netBox) write(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(document); err != nil {
		n.t.Error(err)
	}
}
