package install

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

// diff prints what would change.
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
