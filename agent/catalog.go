package agent

import (
	"errors"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// checkCatalog returns an error that names each plugin that a config could not name without doubt. Only an
// agent with plugins of its own can have one.
func checkCatalog(catalog []cleanup.Descriptor) error {
	var faults []error
	count := map[string]int{}
	for _, descriptor := range catalog {
		count[descriptor.Name]++
		switch {
		case descriptor.Name == "":
			faults = append(faults, fmt.Errorf("the plugin with the summary %q has no name", descriptor.Summary))
		case count[descriptor.Name] == 2:
			faults = append(faults, fmt.Errorf("several plugins have the name %s: rename your own", descriptor.Name))
		case descriptor.Bind == nil && descriptor.BindNotifier == nil:
			faults = append(faults, fmt.Errorf("plugin %s has neither Bind nor BindNotifier", descriptor.Name))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("checking the catalog of plugins: %w", err)
	}
	return nil
}
