package status

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// clear takes a terminal to its first line and empties it, as watch(1) does.
const clear = "\x1b[H\x1b[2J"

// screen redraws the whole state on a terminal.
func screen(environment *command.Environment) func(*printer.Status) error {
	return func(view *printer.Status) error {
		var text bytes.Buffer
		view.Bars = true
		if err := printer.Print(&text, printer.Table, environment.Colour, view); err != nil {
			return err
		}
		_, err := fmt.Fprintf(environment.Out, "%s%s   (every change; end it with Ctrl-C)\n\n%s", clear, view.Time.Local().Format(time.TimeOnly), text.String())
		return err
	}
}

// pauseKey is the line about a pause. It is absent while cleanups may begin.
const pauseKey = "cleanups"

// bypassKey begins the key of the line about a bypass on a live node.
const bypassKey = "bypass of node "

// lines prints a line for each change since the last call, for a pipe or the log of a job.
func lines(environment *command.Environment) func(*printer.Status) error {
	said := map[string]string{}
	return func(view *printer.Status) error {
		now := map[string]string{
			"agent":     fmt.Sprintf("agent %s %s", view.Agent.Health, view.Agent.Problem),
			"admission": fmt.Sprintf("admission %s %s", view.Admission.Health, view.Admission.Problem),
			"config":    fmt.Sprintf("config %s %s", view.Config.Health, view.Config.Problem),
		}
		if view.Pause != nil {
			still := *view.Pause
			still.Since = nil // An age would be a change each time.
			now[pauseKey] = still.Line(view.Time.Time)
			if still.Cause != printer.UnknownBrake {
				now[pauseKey] = "no cleanup begins: " + now[pauseKey]
			}
		}
		for _, bypass := range view.Bypasses {
			now[bypassKey+bypass.Node] = fmt.Sprintf("bypass marked on node %s: %s", bypass.Node, bypass.Line())
		}
		for _, cleanup := range view.Cleanups {
			now["node "+cleanup.Node] = fmt.Sprintf("node %s %s %s %s", cleanup.Node, cleanup.State, printer.OrDash(cleanup.Step), printer.OrDash(cleanup.Reason))
		}
		for key := range said {
			if now[key] == "" {
				now[key] = key + " is not being cleaned up any more"
				if key == pauseKey {
					now[key] = "cleanups may begin"
				}
				if node, is := strings.CutPrefix(key, bypassKey); is {
					now[key] = fmt.Sprintf("node %s is not marked for a bypass any more", node)
				}
				defer delete(said, key) // It is reported once, and the node forgotten.
			}
		}
		stamp := view.Time.UTC().Format(time.RFC3339)
		for _, key := range slices.Sorted(maps.Keys(now)) {
			if said[key] == now[key] {
				continue
			}
			said[key] = now[key]
			if _, err := fmt.Fprintf(environment.Out, "%s %s\n", stamp, strings.TrimRight(printer.Clean(now[key]), " ")); err != nil {
				return err
			}
		}
		return nil
	}
}
