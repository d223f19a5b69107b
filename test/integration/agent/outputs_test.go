package agent_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// TestOutputsSurviveARestart opens a ticket, and closes it by the number that the answer named. The agent
// is killed in between: it must open no second ticket, and must still know the number.
func TestOutputsSurviveARestart(t *testing.T) {
	var mutex sync.Mutex
	calls := map[string]int{}
	var body string
	began := make(chan struct{}, 1)
	tickets := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		sent, err := io.ReadAll(request.Body)
		if err != nil {
			return // The agent was killed.
		}
		mutex.Lock()
		calls[request.Method+" "+request.URL.Path]++
		first := request.Method == http.MethodPatch && calls[request.Method+" "+request.URL.Path] == 1
		body = string(sent)
		mutex.Unlock()
		if request.Method == http.MethodPost {
			writer.WriteHeader(http.StatusCreated)
			fmt.Fprint(writer, `{"ticket": {"number": 4711}}`)
		}
		if first {
			began <- struct{}{}
			<-request.Context().Done() // The agent is killed in the meantime.
		}
	}))
	defer tickets.Close()
	f := setUp(t, fmt.Sprintf(`steps:
- {name: open, plugin: http, options: {url: "%[1]s/tickets", outputs: {number: "{.ticket.number}"}}}
- name: close
  plugin: http
  dependsOn: [open]
  options:
    method: PATCH
    url: "%[1]s/tickets/${steps.open.outputs.number}"
    body: '{"state": "closed", "node": "${node.name}", "ticket": ${steps.open.outputs.number}}'
`, tickets.URL))
	agent := f.process()
	if err := agent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	node := f.protected("worker")
	f.delete(node)
	<-began
	if err := agent.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.awaitDeleted(node)
	mutex.Lock()
	defer mutex.Unlock()
	if want := `{"state": "closed", "node": "worker", "ticket": 4711}`; body != want {
		t.Errorf("the last body is %s, want %s", body, want)
	}
	if calls["POST /tickets"] != 1 || calls["PATCH /tickets/4711"] != 2 || len(calls) != 2 {
		t.Errorf("the calls are %v", calls)
	}
	if record := f.record(node); record.State != api.Succeeded || record.Step("open").Outputs["number"] != "4711" {
		t.Errorf("the record is %+v", record)
	}
}
