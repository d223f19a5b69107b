package dashboard_test

import (
	"context"
	"fmt"
	"net/http"
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
	address, _ := service(t, http.StatusBadRequest)
	f := setUp(t, steps(address))
	f.node("worker-1", nil)
	f.node("worker-2", nil)
	f.deleteNode("worker-1")
	f.awaitText("One node needs an operator")
	views := []struct{ name, view, text string }{
		{"overview", "", "kubectl nodecleanup retry"}, {"nodes", "nodes", "2 of 2 nodes"}, {"node", "node/worker-1", "Attempts"},
		{"plan", "node/worker-2", "What a deletion would run"}, {"history", "history", "1 of 1 cleanups"},
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
