// Package logger is the plugin that writes a line about the Node to the agent's
// log. It is also the shortest plugin there is: read it first when you write one.
package logger

import (
	"context"
	_ "embed"
	"log/slog"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// schema is the JSON Schema of the options. make schema generates it from their type and comments.
//
//go:embed schema.json
var schema []byte

// options are the options of a step. Decoding is strict: an unknown name is reported together with
// every other fault of the config.
type options struct {
	// Message is the line. Its default in a notification is `${notification.title}`.
	Message cleanup.Template `json:"message"`
	// Level is the level of the line: debug, info, warn or error.
	Level slog.Level `json:"level" jsonschema_extras:"default=info"`
}

// Validate is called after decoding. It names the option at fault; where in the
// file that is, the config knows.
func (o *options) Validate() []error {
	var faults []error
	if o.Message.Empty() {
		faults = append(faults, cleanup.OptionError{Path: "message", Problem: "must not be empty"})
	}
	if problem := o.Message.Problem(); problem != "" {
		faults = append(faults, cleanup.OptionError{Path: "message", Problem: problem})
	}
	return faults
}

// Descriptor describes the plugin to the catalog: its name, its defaults, and its constructor.
func Descriptor() cleanup.Descriptor {
	defaults := options{Message: cleanup.MustTemplate("node ${node.name} leaves the cluster")}
	return cleanup.Descriptor{
		Name:           "logger",
		Summary:        "writes a line about the node, or a notification, to the agent's log",
		Defaults:       cleanup.Policy{Critical: false, Timeout: 10 * time.Second},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return plugin{o}, nil
		}),
		BindNotifier: cleanup.NotifierOptions(options{Message: cleanup.MustTemplate("${notification.title}")}, func(o options) (cleanup.Notifier, error) {
			return notifier{o}, nil
		}),
	}
}

type plugin struct{ options }

// Cleanup does the work. Nothing here is about order, retries or timeouts: the
// agent wraps them around each plugin. target.Log is bound to node and step.
func (p plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	message, err := p.Message.Expand(target, nil)
	if err != nil {
		return err
	}
	target.Log.Log(ctx, p.Level, message)
	return nil
}

// Preview implements the optional interface cleanup.Previewer, for dry runs. It changes nothing.
func (p plugin) Preview(_ context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	return []cleanup.Effect{{
		Action: cleanup.Log,
		Object: cleanup.Object{Kind: cleanup.KindNode, Name: target.Node.Name},
		Reason: p.Message.Preview(target),
	}}, nil
}
