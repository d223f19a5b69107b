package dns

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// A version of PowerDNS that does not know the parameter rrset_name returns the whole zone.
func TestAnAnswerWithTheWholeZone(t *testing.T) {
	const zone = `{"kind":"Native","rrsets":[
		{"name":"w2.nodes.example.com.","type":"A","ttl":60,"records":[{"content":"10.0.0.7"}]},
		{"name":"w1.nodes.example.com.","type":"A","ttl":60,"records":[{"content":"10.0.0.7"}]},
		{"name":"w1.nodes.example.com.","type":"AAAA","ttl":60,"records":[{"content":"2001:db8::99"}]}]}`
	var changes []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPatch:
			data, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			changes = append(changes, string(data))
		case r.URL.Path == "/api/v1/servers/localhost/search-data":
			fmt.Fprint(w, "[]")
		default:
			fmt.Fprint(w, zone)
		}
	}))
	defer server.Close()
	p := newPowerDNS(powerDNSOptions{URL: server.URL, APIKey: cleanup.Literal("x"), ServerID: "localhost"}, server.Client(), nil)
	records := []record{{"w1." + zoneName, "A", "10.0.0.7"}, {"w1." + zoneName, "AAAA", "2001:db8::7"}}
	if err := p.remove(t.Context(), zoneName, records); err != nil {
		t.Fatal(err)
	}
	if want := `{"rrsets":[{"name":"w1.nodes.example.com.","type":"A","changetype":"DELETE"}]}`; len(changes) != 1 || changes[0] != want {
		t.Errorf("%q, want %s", changes, want)
	}
}
