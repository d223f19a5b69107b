package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// generate updates the generated files and returns the names of those that differed. With check
// it writes none.
func generate(root string, check bool) ([]string, error) {
	files := map[string][]byte{}
	options := map[string]pluginSchema{}
	for _, descriptor := range plugins.All(plugins.Dependencies{}) {
		folder := filepath.Join(root, "pkg", "plugins", descriptor.Name)
		page := filepath.Join(folder, "README.md")
		text, err := os.ReadFile(page)
		if err != nil {
			return nil, err
		}
		schema, err := ofPlugin(root, descriptor, text)
		if err != nil {
			return nil, fmt.Errorf("plugin %s: %w", descriptor.Name, err)
		}
		options[descriptor.Name] = pluginSchema{schema, descriptor.Bind != nil, descriptor.BindNotifier != nil}
		if files[filepath.Join(folder, "schema.json")], err = encode(schema); err != nil {
			return nil, err
		}
		if files[page], err = withTable(text, files[filepath.Join(folder, "schema.json")]); err != nil {
			return nil, fmt.Errorf("%s: %w", page, err)
		}
	}
	files[filepath.Join(root, "pkg", "plugins", "README.md")] = listOf(plugins.All(plugins.Dependencies{}), plugins.Catalog(plugins.Dependencies{}))
	document, err := ofConfig(root, options)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if files[filepath.Join(root, "docs", "config.schema.json")], err = encode(document); err != nil {
		return nil, err
	}
	return write(files, check)
}

// write stores the files that differ, unless check is set, and returns their names.
func write(files map[string][]byte, check bool) ([]string, error) {
	var stale []string
	for path, text := range files {
		old, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if bytes.Equal(old, text) {
			continue
		}
		stale = append(stale, path)
		if !check {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				return nil, err
			}
		}
	}
	return stale, nil
}
