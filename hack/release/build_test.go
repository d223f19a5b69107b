package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a platform's archive is made of is the same for all: that the program is, too, is
// tested by building one.
func TestArchivesOfAllPlatformsAreReproducible(t *testing.T) {
	man := []file{{"man/man1/kubectl-nodecleanup.1", 0o644, []byte(".TH")}}
	for _, one := range platforms {
		var archives [][]byte
		for range 2 {
			path := filepath.Join(t.TempDir(), one.archive())
			if err := one.pack(path, []byte("program for "+one.name()), man); err != nil {
				t.Fatal(err)
			}
			archive, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			archives = append(archives, archive)
		}
		if !bytes.Equal(archives[0], archives[1]) {
			t.Errorf("%s: two archives differ", one.archive())
		}
	}
}

// Windows unpacks no tar, and runs nothing that does not end in .exe.
func TestWindowsArchiveIsAZip(t *testing.T) {
	for _, one := range platforms {
		if one.os != "windows" {
			continue
		}
		path := filepath.Join(t.TempDir(), one.archive())
		if !strings.HasSuffix(path, ".zip") {
			t.Fatalf("the archive is %s", one.archive())
		}
		if err := one.pack(path, []byte("program"), []file{{"man/man1/kubectl-nodecleanup.1", 0o644, []byte(".TH")}}); err != nil {
			t.Fatal(err)
		}
		archive, err := zip.OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		defer archive.Close()
		found := map[string]string{}
		for _, entry := range archive.File {
			reader, err := entry.Open()
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			found[entry.Name] = string(content)
			if runs := entry.Mode()&0o111 != 0; runs != (entry.Name == "kubectl-nodecleanup.exe") || !entry.Modified.Equal(stamp) {
				t.Errorf("%s has mode %s, of %s", entry.Name, entry.Mode(), entry.Modified)
			}
		}
		if len(found) != 3 || found["kubectl-nodecleanup.exe"] != "program" || found["LICENSE"] == "" || found["man/man1/kubectl-nodecleanup.1"] == "" {
			t.Errorf("%s holds %v", one.archive(), found)
		}
	}
}
