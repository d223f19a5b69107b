package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

// No container engine is here to build it. What it would miss first is a folder that a program
// has come to need.
func TestDockerfileCopiesEverySourceFolder(t *testing.T) {
	copied := instructions(t, "COPY", func(arguments []string) []string { return arguments[:len(arguments)-1] })
	needed := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		`{{$p := .}}{{with .Module}}{{if .Main}}{{range $p.GoFiles}}{{$p.Dir}}/{{.}}{{"\n"}}{{end}}{{range $p.EmbedFiles}}{{$p.Dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`,
		"./cmd/...")
	needed.Dir = root
	needed.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	listed, err := needed.Output()
	if err != nil {
		t.Fatalf("listing the files of the programs: %v", err)
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for file := range strings.FieldsSeq(string(listed)) {
		name, err := filepath.Rel(absolute, file)
		if err != nil {
			t.Fatal(err)
		}
		checked++
		if !slices.ContainsFunc(copied, func(from string) bool { return name == from || strings.HasPrefix(name, from+"/") }) {
			t.Errorf("%s is needed, and no COPY brings it", name)
		}
	}
	if checked < 100 {
		t.Errorf("the programs have %d files: they were not listed", checked)
	}
}

func TestDockerfileImagesRunUnprivileged(t *testing.T) {
	users := instructions(t, "USER", func(arguments []string) []string { return arguments })
	if want := []string{nobody, nobody, nobody}; !slices.Equal(users, want) {
		t.Errorf("its users are %q, want %q", users, want)
	}
	for _, entry := range instructions(t, "ENTRYPOINT", func(arguments []string) []string { return arguments }) {
		if !strings.HasPrefix(entry, `["/`) {
			t.Errorf("%s needs a shell, which the base has not", entry)
		}
	}
}

// instructions returns what is chosen of the arguments of each line with an instruction.
// Those that copy from another stage are left out.
func instructions(t *testing.T, name string, choose func([]string) []string) (found []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name && !strings.HasPrefix(words[1], "--from=") {
			found = append(found, choose(words[1:])...)
		}
	}
	if len(found) == 0 {
		t.Fatalf("the Dockerfile has no %s", name)
	}
	return found
}
