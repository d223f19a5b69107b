package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
)

// header is the first line of every file that is made of the chart, and tells it from others.
const header = "# Generated from manifests/chart by make render. DO NOT EDIT.\n"

// alerts is the rule file. Helm reads only what is in the chart, so that has a copy.
const (
	alerts       = "monitoring/alerts.yaml"
	alertsCopy   = "chart/files/alerts.yaml"
	alertsHeader = "# Copied from manifests/monitoring/alerts.yaml by make render. DO NOT EDIT.\n"
)

// component is what a Kustomize component adds to the base: the objects that the chart
// has with these values, and by default has not.
type component struct {
	name   string
	values map[string]any
}

func on(name string) map[string]any { return map[string]any{name: map[string]any{"enabled": true}} }

var components = []component{
	{"cert-manager", on("certManager")},
	{"monitoring", map[string]any{"podMonitor": map[string]any{"enabled": true}, "prometheusRule": map[string]any{"enabled": true}}},
	{"network-policy", on("networkPolicy")},
}

// generate brings the generated files under manifests up to date and returns the names of
// those that were not. With check it changes none.
func generate(manifests string, check bool) ([]string, error) {
	stale, err := copyAlerts(manifests, check)
	if err != nil {
		return nil, err
	}
	chart := filepath.Join(manifests, "chart")
	schema, err := valuesSchema(manifests)
	if err != nil {
		return nil, err
	}
	changed, err := replace(filepath.Join(chart, "values.schema.json"), schema, check)
	if err != nil {
		return nil, err
	}
	stale = append(stale, changed...)
	base, err := render.Chart(chart, render.Options{})
	if err != nil {
		return nil, err
	}
	more, err := write(filepath.Join(manifests, "base"), base, check)
	if err != nil {
		return nil, err
	}
	stale = append(stale, more...)
	for _, component := range components {
		files, err := render.Chart(chart, render.Options{Values: component.values})
		if err != nil {
			return nil, fmt.Errorf("component %s: %w", component.name, err)
		}
		for name := range base {
			delete(files, name)
		}
		more, err := write(filepath.Join(manifests, "components", component.name), files, check)
		if err != nil {
			return nil, err
		}
		stale = append(stale, more...)
	}
	return stale, nil
}

// copyAlerts brings the chart's copy of the rule file up to date.
func copyAlerts(manifests string, check bool) (stale []string, err error) {
	text, err := os.ReadFile(filepath.Join(manifests, alerts))
	if err != nil {
		return nil, err
	}
	return replace(filepath.Join(manifests, alertsCopy), append([]byte(alertsHeader), text...), check)
}

// replace writes a file, unless check is set, and returns its name if it differed.
func replace(path string, text []byte, check bool) (stale []string, err error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if bytes.Equal(old, text) {
		return nil, nil
	}
	if check {
		return []string{path}, nil
	}
	return []string{path}, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644))
}

// write makes the generated files of a folder these, and leaves the others in it alone.
func write(folder string, files map[string]string, check bool) ([]string, error) {
	there, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var stale []string
	for name, text := range files {
		changed, err := replace(filepath.Join(folder, name), []byte(header+text), check)
		if err != nil {
			return nil, err
		}
		stale = append(stale, changed...)
	}
	for _, path := range there {
		old, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if _, made := files[filepath.Base(path)]; made || !strings.HasPrefix(string(old), header) {
			continue
		}
		stale = append(stale, path)
		if !check {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(stale)
	return stale, nil
}
