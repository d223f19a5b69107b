package install

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/check"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preflight"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// diff prints the changes.
func (o *Options) diff(results []install.Result) error {
	changes := 0
	for _, result := range results {
		text, err := result.Diff()
		if err != nil {
			return err
		}
		if text != "" {
			changes++
			fmt.Fprint(o.Out, text)
		}
	}
	o.Say("%d of %d objects would change; nothing was stored.", changes, len(results))
	return nil
}

// healthWithin limits the wait for health checks of the plugins.
const healthWithin = 15 * time.Second

// check reports the health of the completed install. A fault is not a failure of the install: a
// plugin may wait for a system that is set up later. The agent's earlier health checks may have failed for
// rights that this install has granted, so it is asked for new ones.
func (o *Options) check(ctx context.Context, client kubernetes.Interface, namespace string) error {
	asked, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	if _, err := preflight.AskSoon(asked, client, namespace, o.ServerTime); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.Say("The plugins were not checked again after this install: %v", err)
	}
	view := check.AfterInstall(ctx, client, namespace, o.Catalog(), o.ServerTime)
	if err := printer.Print(o.ErrOut, printer.Short, false, view); err != nil {
		return err
	}
	if !view.Passed {
		o.Say("See all of it, and what to do: kubectl nodecleanup check")
	}
	return nil
}

func (o *Options) line(result install.Result) {
	suffix := ""
	if o.DryRun == dryRunServer {
		suffix = " (server dry run)"
	}
	o.print(result, suffix)
}

func (o *Options) print(result install.Result, suffix string) {
	if result.Note != "" {
		suffix += ": " + result.Note
	}
	fmt.Fprintf(o.Out, "%s %s%s\n", result.Name(), result.Action, suffix)
}

func objects(results []install.Result) []*unstructured.Unstructured {
	var list []*unstructured.Unstructured
	for _, result := range results {
		if result.Action != install.Deleted {
			result.Object.SetManagedFields(nil) // as kubectl shows objects
			list = append(list, result.Object)
		}
	}
	return list
}
