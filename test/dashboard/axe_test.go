package dashboard_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// axe is a library that finds barriers for people with disabilities, which hack/ci/browser-libraries fetches.
const axe = "../../bin/axe-core-4.14.1.min.js"

// violation is what axe finds.
type violation struct {
	ID    string `json:"id"`
	Help  string `json:"help"`
	Nodes []struct {
		HTML string `json:"html"`
	} `json:"nodes"`
}

// wantNoBarrier runs axe in the page.
func (f *fixture) wantNoBarrier(library, where string) {
	f.Helper()
	do(f, chromedp.Evaluate[any](library+";0"))
	const run = "axe.run(document, {resultTypes: ['violations']}).then(results => results.violations.map(v => ({id: v.id, help: v.help, nodes: v.nodes.map(n => ({html: n.html}))})))"
	for _, found := range do(f, chromedp.Evaluate[[]violation](run, chromedp.EvalAwaitPromise)) {
		f.Errorf("%s: %s (%s): %v", where, found.Help, found.ID, found.Nodes)
	}
}

// Every page is free of barriers that a program can find, in light and dark, on a wide and on a narrow screen.
func TestNoBarriers(t *testing.T) {
	library, err := os.ReadFile(axe)
	if err != nil {
		t.Skip("axe was not fetched (hack/ci/browser-libraries), so nobody looks for barriers")
	}
	inventory := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		code := http.StatusServiceUnavailable
		if request.URL.Path == "/nodes/ip-10-0-7-21" {
			code = http.StatusForbidden
		}
		response.WriteHeader(code)
	}))
	t.Cleanup(inventory.Close)
	f := setUp(t, "steps:\n- {name: note, plugin: logger, critical: true}\n- {name: drain, plugin: drain, dependsOn: [note]}\n- {name: volumes, plugin: volumes, dependsOn: [drain]}\n"+
		"- {name: inventory, plugin: http, critical: true, dependsOn: [volumes], options: {url: '"+inventory.URL+"/nodes/${node.name}', method: DELETE}}\n- {name: goodbye, plugin: logger, dependsOn: [inventory]}\n")
	for i, name := range []string{"ip-10-0-3-14", "ip-10-0-3-77", "ip-10-0-5-9", "ip-10-0-7-21"} {
		f.node(name, map[string]string{"topology.kubernetes.io/zone": fmt.Sprintf("eu-west-1%c", 'a'+i%3), "karpenter.sh/nodepool": "general"})
	}
	f.deleteNode("ip-10-0-7-21")
	f.deleteNode("ip-10-0-3-14")
	f.awaitText("One node needs an operator")
	f.awaitText("Waiting")
	views := []struct{ name, view, text string }{
		{"overview", "", "kubectl nodecleanup retry"}, {"nodes", "nodes", "4 of 4 nodes"}, {"node", "node/ip-10-0-7-21", "Attempts"},
		{"plan", "node/ip-10-0-5-9", "What a deletion would run"}, {"history", "history", "2 of 2 cleanups"},
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			do(f, chromedp.EmulateViewport(width, 900))
			do(f, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
				_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
				return err
			}))
			for _, one := range views {
				f.goTo(one.view)
				f.awaitText(one.text)
				where := fmt.Sprintf("%s-%s-%d", one.name, scheme, width)
				f.wantNoBarrier(string(library), where)
				if do(f, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > document.documentElement.clientWidth")) {
					t.Errorf("%s: the page is wider than the screen", where)
				}
				f.picture(where)
			}
		}
	}
	f.wantNoComplaint()
}
