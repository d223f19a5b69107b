package monitoring

import (
	"strings"
	"testing"
)

// width of Grafana's grid.
const width = 24

func panels(t *testing.T) []Panel {
	t.Helper()
	all, err := Panels()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("the dashboard has no panel")
	}
	return all
}

func TestPanelsHaveDescriptionsAndADatasource(t *testing.T) {
	ids := map[int]bool{}
	for _, panel := range panels(t) {
		if ids[panel.ID] || panel.ID == 0 {
			t.Errorf("panel %q: id %d is nobody's or another's", panel.Title, panel.ID)
		}
		ids[panel.ID] = true
		if panel.Title == "" {
			t.Errorf("panel %d has no title", panel.ID)
		}
		if panel.Type == "row" {
			continue
		}
		if panel.Description == "" || len(panel.Targets) == 0 {
			t.Errorf("panel %q: description %q, %d queries", panel.Title, panel.Description, len(panel.Targets))
		}
		if !strings.Contains(string(panel.Datasource), "${datasource}") {
			t.Errorf("panel %q asks %s, and not the Prometheus that was chosen", panel.Title, panel.Datasource)
		}
		references := map[string]bool{}
		for _, target := range panel.Targets {
			if references[target.RefID] || target.RefID == "" {
				t.Errorf("panel %q: query %q is nobody's or another's", panel.Title, target.RefID)
			}
			references[target.RefID] = true
			if !strings.Contains(target.Expr, `cluster=~"$cluster"`) {
				t.Errorf("panel %q shows every cluster whichever is chosen: %s", panel.Title, target.Expr)
			}
		}
	}
}

func TestNoPanelCoversAnother(t *testing.T) {
	type cell struct{ x, y int }
	taken := map[cell]string{}
	for _, panel := range panels(t) {
		at := panel.GridPos
		if at.W <= 0 || at.H <= 0 || at.X < 0 || at.X+at.W > width {
			t.Errorf("panel %q is at %+v", panel.Title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := taken[cell{x, y}]; other != "" {
					t.Fatalf("panel %q covers panel %q at %d, %d", panel.Title, other, x, y)
				}
				taken[cell{x, y}] = panel.Title
			}
		}
	}
}
