package cmdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const authorization = "Bearer canary-77aa"

// inventory is an inventory in memory, with records by ID. Like ServiceNow and NetBox, it ignores filters that it does
// not know: https://github.com/netbox-community/netbox/issues/21858.
type inventory struct {
	t       *testing.T
	server  *httptest.Server
	mutex   sync.Mutex
	records map[string]map[string]any
	// changes are the requests that changed something, with their body.
	changes []string
	plugintest.Override
	// afterLookup, if it is not nil, is called with the lock after a lookup.
	afterLookup func()
}

func newInventory(t *testing.T) *inventory {
	i := &inventory{t: t, records: map[string]map[string]any{}}
	i.server = httptest.NewServer(i)
	t.Cleanup(i.server.Close)
	return i
}

func (i *inventory) add(id string, record map[string]any) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.records[id] = record
}

func (i *inventory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.Overrides(w, r) {
		return
	}
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if r.Header.Get("Authorization") != authorization || r.Header.Get("X-Tenant") != "ops" {
		http.Error(w, "wrong: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
		return
	}
	id, one := strings.CutPrefix(r.URL.EscapedPath(), "/api/items/")
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/api/items":
		i.list(w, r)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/api/hosts/"):
		record := i.records[strings.TrimPrefix(r.URL.Path, "/api/hosts/")]
		if record == nil {
			http.NotFound(w, r)
			return
		}
		i.write(w, record)
	case one && i.records[id] == nil:
		http.NotFound(w, r)
	case one && r.Method != http.MethodGet:
		data, err := io.ReadAll(r.Body)
		if err != nil {
			i.t.Error(err)
		}
		i.changes = append(i.changes, r.Method+" "+id+" "+string(data))
		if r.Method == http.MethodDelete {
			delete(i.records, id)
		}
	default:
		i.t.Errorf("%s %s", r.Method, r.URL)
	}
}

func (i *inventory) list(w http.ResponseWriter, r *http.Request) {
	found := []map[string]any{}
	for _, id := range slices.Sorted(maps.Keys(i.records)) {
		if name := r.URL.Query().Get("name"); name == "" || i.records[id]["name"] == name {
			found = append(found, i.records[id])
		}
	}
	i.write(w, map[string]any{"data": map[string]any{"items": found}})
	if i.afterLookup != nil {
		i.afterLookup()
	}
}

func (i *inventory) write(w http.ResponseWriter, document any) {
	if err := json.NewEncoder(w).Encode(document); err != nil {
		i.t.Error(err)
	}
}

// options returns the options of a step.
func (i *inventory) options(path, method, further string) string {
	body := `,"body":"{\"state\": \"retired\", \"by\": \"${run.deletedBy}\"}"`
	if method == http.MethodDelete {
		body = ""
	}
	return fmt.Sprintf(`{"url":"%s/api/","headers":{"Authorization":{"secretKeyRef":{"name":"cmdb","key":"authorization"}},"X-Tenant":"ops"},
		"lookup":{"path":%q,"results":"/data/items","match":{"/name":"${node.name}","/asset/uid":"${node.uid}"}},
		"change":{"method":%q,"path":"items/{id}"%s}%s}`, i.server.URL, path, method, body, further)
}

func bind(t *testing.T, i *inventory, options string) cleanup.Plugin {
	t.Helper()
	plugin, faults := Descriptor(i.server.Client(), plugintest.Secrets{"authorization": authorization + "\n"}).Bind([]byte(options))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

func targetOf(outputs map[string]string) (cleanup.Target, map[string]string) {
	recorded := map[string]string{}
	return cleanup.Target{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w1", UID: "uid-1"}}, DeletedBy: `a"b`,
		Step: "cmdb", Attempt: 1, Outputs: map[string]map[string]string{"cmdb": outputs}, Log: slog.New(slog.DiscardHandler),
		Recorded: func(name, value string) error { recorded[name] = value; return nil },
	}, recorded
}

func record(id any, name, uid string) map[string]any {
	return map[string]any{"id": id, "name": name, "asset": map[string]any{"uid": uid}}
}

const byName = "items?name=${node.name}"

func TestTheOneRecordIsChanged(t *testing.T) {
	const body = ` {"state": "retired", "by": "a\"b"}`
	for name, test := range map[string]struct {
		path, method string
		id           any
		change       string
	}{
		"patch":       {byName, "PATCH", "7", "PATCH 7" + body},
		"number":      {byName, "PUT", 12345678901234567, "PUT 12345678901234567" + body},
		"delete":      {byName, "DELETE", "7", "DELETE 7 "},
		"ID with /":   {byName, "DELETE", "a/b c", "DELETE a%2Fb%20c "},
		"no filter":   {"items?unknown=${node.uid}", "POST", "7", "POST 7" + body},
		"one of many": {"items", "PATCH", "7", "PATCH 7" + body},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInventory(t)
			i.add(httpclient.PercentEncode(fmt.Sprint(test.id)), record(test.id, "w1", "uid-1"))
			i.add("8", record("8", "w1", "uid-of-the-next"))
			i.add("9", record("9", "w2", "uid-1"))
			target, recorded := targetOf(nil)
			if err := bind(t, i, i.options(test.path, test.method, "")).Cleanup(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			var change, want any
			got := strings.Join(i.changes, ";")
			if at := strings.Index(got, "{"); at >= 0 && json.Unmarshal([]byte(got[at:]), &change) == nil && json.Unmarshal([]byte(test.change[at:]), &want) == nil {
				got, test.change = got[:at]+fmt.Sprint(change), test.change[:at]+fmt.Sprint(want)
			}
			if got != test.change || recorded["id"] != fmt.Sprint(test.id) {
				t.Errorf("changes %q, want %q; outputs %v", got, test.change, recorded)
			}
		})
	}
}

func TestOneRecordByItsName(t *testing.T) {
	i := newInventory(t)
	i.add("w1", record("w1", "w1", "uid-1"))
	options := strings.Replace(i.options("hosts/${node.name}", "DELETE", ""), `"results":"/data/items",`, "", 1)
	for range 2 {
		target, _ := targetOf(nil)
		if err := bind(t, i, options).Cleanup(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	if len(i.changes) != 1 {
		t.Error(i.changes)
	}
}

func TestNothingElseIsChanged(t *testing.T) {
	for name, test := range map[string]struct {
		options func(i *inventory) string
		prepare func(i *inventory)
		says    string
	}{
		"two":  {nil, func(i *inventory) { i.add("9", record("9", "w1", "uid-1")) }, "the inventory has 2 records of the node: 7, 9"},
		"none": {func(i *inventory) string { return i.options(byName, "PATCH", `,"mustExist":true`) }, func(i *inventory) { delete(i.records, "7") }, "the inventory has no record of the node (option mustExist)"},
		"no list": {func(i *inventory) string {
			return strings.Replace(i.options(byName, "PATCH", ""), "/data/items", "/results", 1)
		}, nil, `the answer has nothing at lookup.results, "/results"`},
		"a text": {func(i *inventory) string {
			return strings.Replace(i.options(byName, "PATCH", ""), "/data/items", "/data/items/0/name", 1)
		}, nil, "neither a list nor an object"},
		"no ID":        {nil, func(i *inventory) { i.records["7"]["id"] = nil }, `the record has no ID at lookup.id, "/id"`},
		"a path as ID": {nil, func(i *inventory) { i.records["7"]["id"] = ".." }, "the record has no ID"},
		"an empty text": {func(i *inventory) string {
			return strings.Replace(i.options(byName, "PATCH", ""), "${node.uid}", "${node.labels['a']}", 1)
		}, nil, "the value of lookup.match for /asset/uid is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInventory(t)
			i.add("7", record("7", "w1", "uid-1"))
			if test.prepare != nil {
				test.prepare(i)
			}
			options := i.options(byName, "PATCH", "")
			if test.options != nil {
				options = test.options(i)
			}
			target, _ := targetOf(nil)
			err := bind(t, i, options).Cleanup(t.Context(), target)
			if err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), test.says) || len(i.changes) > 0 {
				t.Errorf("%v, permanent %t, changes %q", err, cleanup.IsPermanent(err), i.changes)
			}
		})
	}
}

// The kubelet of a Node writes most labels.
func TestALabelStaysOneValueOfThePath(t *testing.T) {
	i := newInventory(t)
	i.add("7", record("7", "w1", "uid-1"))
	var asked []string
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		return http.DefaultTransport.RoundTrip(r)
	})}
	options := strings.Replace(i.options("items?name=w1&rack=${node.labels['rack']}", "DELETE", ""), "items/{id}", "items/{id}?rack=${node.labels['rack']}", 1)
	plugin, faults := Descriptor(client, plugintest.Secrets{"authorization": authorization}).Bind([]byte(options))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	target, _ := targetOf(nil)
	target.Node.Labels = map[string]string{"rack": "a&name=/../"}
	if err := plugin.Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if want := []string{"GET /api/items?name=w1&rack=a%26name%3D%2F..%2F", "DELETE /api/items/7?rack=a%26name%3D%2F..%2F"}; !slices.Equal(asked, want) {
		t.Errorf("%q, want %q", asked, want)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func TestADeletedRecordIsDone(t *testing.T) {
	i := newInventory(t)
	i.add("7", record("7", "w1", "uid-1"))
	i.afterLookup = func() { delete(i.records, "7") }
	for range 2 {
		target, _ := targetOf(nil)
		if err := bind(t, i, i.options(byName, "PATCH", "")).Cleanup(t.Context(), target); err != nil || len(i.changes) > 0 {
			t.Errorf("%v, %q", err, i.changes)
		}
	}
}

// The agent is killed after the deletion. Before it starts again, another record matches.
func TestARepeatLeavesTheNextRecord(t *testing.T) {
	i := newInventory(t)
	i.add("7", record("7", "w1", "uid-1"))
	options := i.options(byName, "DELETE", `,"mustExist":true`)
	target, recorded := targetOf(nil)
	if err := bind(t, i, options).Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	again, _ := targetOf(recorded)
	for range 2 {
		if err := bind(t, i, options).Cleanup(t.Context(), again); err != nil || len(i.changes) != 1 {
			t.Errorf("%v, %q", err, i.changes)
		}
		i.add("8", record("8", "w1", "uid-1"))
	}
}

func TestOptions(t *testing.T) {
	with := func(lookup, change string) string {
		return `"url":"https://a","lookup":{"path":"items","match":{"/name":"a"}` + lookup + `},"change":{"path":"items/{id}","body":"{}"` + change + `}`
	}
	for options, want := range map[string]string{
		with("", ""): "",
		with("", "") + `,"headers":{"a":"b","A":"c"}`:            "headers.a: is the same header as A",
		with("", "") + `,"headers":{"Host":"b"}`:                 "headers.Host: is set by the plugin",
		with("", "") + `,"headers":{"a":"${node.name}"}`:         "headers.a: cannot contain references",
		with("", "") + `,"headers":{"a b":"c"}`:                  `headers: "a b" is not a valid header name`,
		with("", "") + `,"caBundle":"x"`:                         "caBundle: ",
		`"url":"https://a?b"`:                                    "url: must have no user and no query",
		`"url":"https://a"`:                                      "lookup.match: must name at least one value",
		with(`,"results":"items"`, ""):                           `lookup.results: "items" is not a JSON pointer`,
		with(`,"id":"id"`, ""):                                   `lookup.id: "id" is not a JSON pointer`,
		strings.Replace(with("", ""), "/name", "name", 1):        `lookup.match["name"]: "name" is not a JSON pointer`,
		with("", `,"method":"GET"`):                              "change.method: must be one of",
		strings.Replace(with("", ""), "/{id}", "", 1):            "change.path: must contain {id}",
		strings.Replace(with("", ""), "items/", "https://b/", 1): "change.path: must be a path below url",
		strings.Replace(with("", ""), `,"body":"{}"`, "", 1):     "change.body: is required for PATCH",
		strings.Replace(with("", ""), `"{}"`, `"{"`, 1):          "change.body: is not valid JSON",
	} {
		_, faults := Descriptor(nil, nil).Bind([]byte("{" + options + "}"))
		err := errors.Join(faults...)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

// A list with a record that is no object, and an answer that is null.
func TestStrangeAnswers(t *testing.T) {
	for _, body := range []string{"null", "[]", "[null]", `[1,"a",[]]`, `{"name":null}`, `[{"name":["w1"]}]`} {
		i := newInventory(t)
		i.Answering(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		options := strings.Replace(i.options(byName, "PATCH", ""), `"results":"/data/items",`, "", 1)
		target, _ := targetOf(nil)
		if err := bind(t, i, options).Cleanup(t.Context(), target); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestConformance(t *testing.T) {
	for _, method := range []string{"PATCH", "DELETE"} {
		t.Run(method, func(t *testing.T) {
			i, values := newInventory(t), plugintest.Secrets{"authorization": authorization}
			count := 0
			wrong := func(t *testing.T) {
				values["authorization"] = "Bearer canary-wrong"
				t.Cleanup(func() { values["authorization"] = authorization })
			}
			plugintest.Run(t, plugintest.Suite{
				Descriptor: Descriptor(i.server.Client(), values),
				Options:    i.options(byName, method, ""),
				Node: func(_ *testing.T, name string) *corev1.Node {
					count++
					uid := "uid-of-" + name
					i.add(fmt.Sprint(count), record(fmt.Sprint(count), name, uid))
					return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid)}}
				},
				Effects: func(*testing.T) int {
					i.mutex.Lock()
					defer i.mutex.Unlock()
					return len(i.changes)
				},
				Hang: func(t *testing.T, _ *corev1.Node) <-chan struct{} { return i.Hang(t) },
				Break: func(t *testing.T) {
					i.Answering(t, func(w http.ResponseWriter, r *http.Request) {
						http.Error(w, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), http.StatusBadGateway)
					})
				},
				Refuse:    wrong,
				Throttle:  i.Throttle,
				Unhealthy: wrong,
				Canary:    "canary",
			})
		})
	}
}
