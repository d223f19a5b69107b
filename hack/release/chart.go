package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	chartFolder = "manifests/chart"
	chartName   = "nodecleanup"
)

// chartArchive is what Helm calls the chart of a version: without the v, as charts
// number themselves.
func chartArchive(version string) string {
	return chartName + "-" + strings.TrimPrefix(version, "v") + ".tgz"
}

// packChart writes the chart as helm package does, but for the times of its files, which
// would make every archive another one.
func packChart(folder, version string) error {
	files, err := filesIn(chartFolder)
	if err != nil {
		return fmt.Errorf("reading the chart: %w", err)
	}
	for i := range files {
		if files[i].name == "Chart.yaml" {
			if files[i].content, err = numbered(files[i].content, version); err != nil {
				return err
			}
		}
		files[i].name = inChart(files[i].name)
	}
	var archive bytes.Buffer
	if err := tarred(&archive, files); err != nil {
		return fmt.Errorf("packing the chart: %w", err)
	}
	return os.WriteFile(filepath.Join(folder, chartArchive(version)), archive.Bytes(), 0o644)
}

func inChart(name string) string { return path.Join(chartName, name) }

// filesIn returns the files below a folder, by their names in it with slashes.
func filesIn(folder string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		files = append(files, file{filepath.ToSlash(name), 0o644, content})
		return nil
	})
	return files, err
}

var chartVersion = regexp.MustCompile(`(?m)^(version|appVersion): .*$`)

// numbered sets both versions in a Chart.yaml.
func numbered(text []byte, version string) ([]byte, error) {
	set := 0
	text = chartVersion.ReplaceAllFunc(text, func(line []byte) []byte {
		set++
		key, _, _ := bytes.Cut(line, []byte(":"))
		if string(key) == "version" {
			return []byte("version: " + strings.TrimPrefix(version, "v"))
		}
		return []byte("appVersion: " + version)
	})
	if set != 2 {
		return nil, fmt.Errorf("there are %d versions in %s/Chart.yaml, and not 2", set, chartFolder)
	}
	return text, nil
}
