// Package render prints the Helm chart as helm template does: without its hooks, which the
// chart leaves out of what is only printed, unless there is a cluster to look things up in.
package render

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Newest is the newest version of Kubernetes that is supported, and the one that
// manifests are printed for.
const Newest = "v1.37.0"

// Options say what is printed. The zero value is the chart's own.
type Options struct {
	// Namespace of the release; empty for api.Namespace.
	Namespace string
	// KubeVersion of the cluster it is for; empty for Newest.
	KubeVersion string
	// Cluster is where the chart looks things up; nil where it is only printed.
	Cluster engine.ClientProvider
	// Values over those of the chart.
	Values map[string]any
}

// Chart prints the chart in a folder: the text of each template by its file name, such
// as "deployment.yaml". Templates that give nothing are left out. Its error names values
// that the chart's schema refuses.
func Chart(folder string, options Options) (map[string]string, error) {
	chart, err := loader.LoadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("loading the chart in %s: %w", folder, err)
	}
	if options.Namespace == "" {
		options.Namespace = api.Namespace
	}
	if options.KubeVersion == "" {
		options.KubeVersion = Newest
	}
	kube, err := common.ParseKubeVersion(options.KubeVersion)
	if err != nil {
		return nil, fmt.Errorf("reading the Kubernetes version %q: %w", options.KubeVersion, err)
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *kube
	release := common.ReleaseOptions{Name: "nodecleanup", Namespace: options.Namespace, Revision: 1, IsInstall: true}
	// The engine changes the values that it is given.
	values, err := util.ToRenderValues(chart, maps.Clone(options.Values), release, capabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := options.render(chart, values)
	if err != nil {
		return nil, fmt.Errorf("rendering the chart in %s: %w", folder, err)
	}
	files := map[string]string{}
	for name, text := range rendered {
		text = strings.TrimPrefix(strings.TrimSpace(text), "---\n")
		if filepath.Ext(name) == ".yaml" && text != "" {
			files[path.Base(name)] = text + "\n"
		}
	}
	return files, nil
}

func (o Options) render(chart *v2.Chart, values common.Values) (map[string]string, error) {
	if o.Cluster == nil {
		return engine.Render(chart, values)
	}
	return engine.RenderWithClientProvider(chart, values, o.Cluster)
}
