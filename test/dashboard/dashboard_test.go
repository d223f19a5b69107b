package dashboard_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
)

// service answers the step with a code that a test can change.
func service(t *testing.T, code int) (address string, answer *atomic.Int64) {
	answer = &atomic.Int64{}
	answer.Store(int64(code))
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, _ *http.Request) { response.WriteHeader(int(answer.Load())) }))
	t.Cleanup(server.Close)
	return server.URL, answer
}

// picture saves what the browser shows, for people who want to look at it.
func (f *fixture) picture(name string) {
	folder := os.Getenv("NODECLEANUP_PICTURES")
	if folder == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), do(f, chromedp.FullScreenshot(100)), 0o644); err != nil {
		f.Fatal(err)
	}
}

func steps(address string) string {
	return "steps:\n- {name: note, plugin: logger, critical: true}\n- {name: inventory, plugin: http, critical: true, dependsOn: [note], options: {url: '" + address + "', method: POST}}\n"
}

// A deletion is followed in the browser from the request to the end.
func TestDeletionIsFollowedToItsEnd(t *testing.T) {
	address, answer := service(t, http.StatusServiceUnavailable)
	f := setUp(t, steps(address))
	f.awaitText("Health")
	f.node("worker-1", map[string]string{"topology.kubernetes.io/zone": "zone-a", "karpenter.sh/nodepool": "general"})
	f.node("worker-2", nil)
	f.goTo("nodes")
	f.awaitText("2 of 2 nodes")
	f.awaitText("general")
	f.goTo("node/worker-1")
	f.awaitText("What a deletion would run")
	f.deleteNode("worker-1")
	f.awaitText("503")
	f.picture("node-retrying")
	f.awaitText("note")
	f.goTo("")
	f.awaitText("worker-1")
	f.picture("overview-retrying")
	f.goTo("node/worker-1")
	answer.Store(http.StatusOK)
	f.awaitText("The node no longer exists")
	f.awaitText("Succeeded")
	f.goTo("history")
	f.awaitText("1 of 1 cleanups")
	f.picture("history")
	f.wantNoComplaint()
}

// A node that needs an operator is on the first page, with its cause and the command.
func TestStuckNodeIsExplained(t *testing.T) {
	address, _ := service(t, http.StatusBadRequest)
	f := setUp(t, steps(address))
	f.node("worker-1", nil)
	f.deleteNode("worker-1")
	f.awaitText("One node needs an operator")
	f.awaitText("kubectl nodecleanup retry worker-1")
	f.wantText(true, "400")
	f.picture("overview-failed")
	f.stopAgent()
	f.awaitText("no leader")
	f.wantText(true, "worker-1") // With the agent dead, the page still says what holds the node.
	f.picture("overview-no-agent")
	f.wantNoComplaint()
}

// The page works after a login from another site, and after a reload.
func TestLoginFromAnotherSiteAndReload(t *testing.T) {
	f := setUp(t, steps("http://127.0.0.1:1"))
	f.awaitText("Health")
	link := f.page.Link()
	other := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, _ *http.Request) {
		response.Header().Set("Content-Type", "text/html")
		_, _ = response.Write([]byte(`<a id="login" href="` + link + `">log in</a>`))
	}))
	t.Cleanup(other.Close)
	f.navigate(other.URL)
	do(f, chromedp.Evaluate[any]("document.getElementById('login').click()"))
	f.awaitText("Health")
	do(f, chromedp.Reload())
	f.awaitText("Health")
	f.wantNoComplaint()
}
