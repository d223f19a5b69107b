// Command ui builds the page of the dashboard from pkg/dashboard/ui/src into pkg/dashboard/ui/dist, which is committed, so
// that a build of the CLI needs no npm. With -check it compares instead.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

const (
	source = "../../pkg/dashboard/ui/src"
	output = "../../pkg/dashboard/ui/dist"
)

func main() {
	check := flag.Bool("check", false, "fail if the committed page differs from its source")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "ui:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	if err := install(); err != nil {
		if !check {
			return err
		}
		// Without npm's registry, the committed page is still the one that is built and tested.
		fmt.Fprintln(os.Stderr, "not checked whether the page of the dashboard is built from its source:", err)
		return nil
	}
	files, err := build()
	if err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(output, name)
		if !check {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				return err
			}
			continue
		}
		committed, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(committed, content) {
			return fmt.Errorf("%s differs from its source: run make ui", path)
		}
	}
	return nil
}

// install fetches the libraries that package-lock.json pins, unless they are there.
func install() error {
	lock, err := os.Stat("package-lock.json")
	if err != nil {
		return err
	}
	installed, err := os.Stat("node_modules/.package-lock.json")
	if err == nil && !installed.ModTime().Before(lock.ModTime()) {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	command := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("npm ci: %w", err)
	}
	return nil
}

// build returns the files of the page by name.
func build() (map[string][]byte, error) {
	modules, err := filepath.Abs("node_modules")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, entry := range []struct {
		name, output string
		format       api.Format
		// banner names the libraries in the file with their licences.
		banner string
	}{
		{"main.tsx", "app.js", api.FormatESModule, "/*! Contains Preact (https://preactjs.com), Copyright (c) 2015-present Jason Miller, MIT License */"},
		{"login.ts", "login.js", api.FormatIIFE, ""}, // A classic script: only that knows its element.
		{"app.css", "app.css", api.FormatDefault, ""},
	} {
		result := api.Build(api.BuildOptions{
			EntryPoints: []string{filepath.Join(source, entry.name)}, Outfile: entry.output, Bundle: true, Format: entry.format, Target: api.ES2022,
			MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true, JSX: api.JSXAutomatic, JSXImportSource: "preact",
			LegalComments: api.LegalCommentsEndOfFile, NodePaths: []string{modules}, Banner: map[string]string{"js": entry.banner},
		})
		var faults []string
		for _, fault := range append(result.Errors, result.Warnings...) {
			where := ""
			if fault.Location != nil {
				where = fmt.Sprintf("%s:%d: ", fault.Location.File, fault.Location.Line)
			}
			faults = append(faults, where+fault.Text)
		}
		if len(faults) > 0 {
			return nil, errors.New(strings.Join(faults, "\n"))
		}
		files[entry.output] = result.OutputFiles[0].Contents
	}
	for _, name := range []string{"index.html", "favicon.svg"} {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return nil, err
		}
		files[name] = content
	}
	return files, nil
}
