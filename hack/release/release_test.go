package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const version = "v1.2.3"

// largest the program may be, in bytes. One import can double it: see
// docs/dependencies.md.
const largest = 45 << 20

func TestMain(m *testing.M) {
	// The release is made from the root of the checkout.
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestArchiveIsReproducible(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "a.tar.gz"), filepath.Join(t.TempDir(), "b.tar.gz")
	here := platform{"linux", "amd64"}
	var archives [][]byte
	for _, path := range []string{first, second} {
		binary, err := here.build(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		if len(binary) > largest {
			t.Errorf("the program has %d bytes, more than %d", len(binary), largest)
		}
		checkout, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(binary, []byte(checkout+"/")) {
			t.Errorf("the path %s is in the program", checkout)
		}
		if err := here.pack(path, binary, nil); err != nil {
			t.Fatal(err)
		}
		archive, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, archive)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds differ")
	}
}

// The manifest is one that Krew takes, and the archive one that it can install:
// it unpacks into its store, links the program into a folder of the PATH, and
// kubectl finds it there.
func TestKrewInstallsTheReleaseAndKubectlRunsIt(t *testing.T) {
	dist := t.TempDir()
	if err := release(t.Context(), version, dist, "host"); err != nil {
		t.Fatal(err)
	}
	here := platform{runtime.GOOS, runtime.GOARCH}
	sums := map[string]string{}
	for _, one := range platforms {
		sums[one.archive()] = strings.Repeat("0", 64)
	}
	written := readChecksums(t, dist)
	if len(written) != 2 || written[here.name()+".cdx.json"] == "" || written[here.archive()] == "" {
		t.Fatalf("the checksums are %v", written)
	}
	wantDescribed(t, dist, here)
	sums[here.archive()] = written[here.archive()]
	manifestPath := filepath.Join(dist, "nodecleanup.yaml")
	if err := writeKrew("krew/nodecleanup.yaml.tmpl", manifestPath, version, sums); err != nil {
		t.Fatal(err)
	}
	bin := installFrom(t, manifestPath, dist, here)

	command := exec.CommandContext(t.Context(), kubectl(t), "nodecleanup", "version", "--client", "-o", "short")
	command.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(out), version) {
		t.Errorf("kubectl nodecleanup version: %v: %s", err, out)
	}

	// Krew fails if its folder holds a file that it did not put there.
	local := filepath.Join(t.TempDir(), ".local", "bin")
	if err := os.MkdirAll(local, 0o755); err != nil {
		t.Fatal(err)
	}
	home, path := "HOME="+filepath.Dir(filepath.Dir(local)), "PATH="+strings.Join([]string{bin, local, os.Getenv("PATH")}, string(os.PathListSeparator))
	shim := exec.CommandContext(t.Context(), filepath.Join(bin, program), "completion", "kubectl", "--install")
	shim.Env = append(os.Environ(), home, path)
	if out, err := shim.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != filepath.Join(local, "kubectl_complete-nodecleanup") {
		t.Fatalf("completion kubectl --install: %v: %s", err, out)
	}
	if entries, err := os.ReadDir(bin); err != nil || len(entries) != 1 {
		t.Errorf("Krew's folder holds %v, %v", entries, err)
	}
	complete := exec.CommandContext(t.Context(), kubectl(t), "__complete", "nodecleanup", "diag")
	complete.Env = append(os.Environ(), path)
	if out, err := complete.Output(); err != nil || !strings.Contains(string(out), "diagnose") {
		t.Errorf("kubectl completes nodecleanup diag to %q, error %v", out, err)
	}
}

// installFrom does what krew install does with a manifest and an archive.
func installFrom(t *testing.T, manifestPath, dist string, here platform) string {
	t.Helper()
	text, err := os.ReadFile(manifestPath)
	if err != nil {
		t.Fatal(err)
	}
	if quoted := regexp.MustCompile(`sha256: "[0-9a-f]{64}"`).FindAllString(string(text), -1); len(quoted) != len(platforms) {
		t.Errorf("%d of %d checksums are quoted and in lower case", len(quoted), len(platforms))
	}
	var manifest struct {
		Spec struct {
			Version   string
			Platforms []struct {
				Selector         struct{ MatchLabels map[string]string }
				URI, SHA256, Bin string
			}
		}
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	for _, one := range manifest.Spec.Platforms {
		if one.Selector.MatchLabels["os"] != here.os || one.Selector.MatchLabels["arch"] != here.arch {
			continue
		}
		archive := filepath.Join(dist, filepath.Base(one.URI))
		root := t.TempDir()
		store, bin := filepath.Join(root, "store", "nodecleanup", manifest.Spec.Version), filepath.Join(root, "bin")
		for _, folder := range []string{store, bin} {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		unpack(t, archive, store)
		if _, err := os.Stat(filepath.Join(store, "LICENSE")); err != nil {
			t.Errorf("krew's index wants the license in the archive: %v", err)
		}
		if page, err := os.ReadFile(filepath.Join(store, "man", "man1", "kubectl-nodecleanup-diagnose.1")); err != nil || !bytes.Contains(page, []byte(".SH SYNOPSIS")) {
			t.Errorf("the man page of diagnose in the archive: %v", err)
		}
		if err := os.Symlink(filepath.Join(store, one.Bin), filepath.Join(bin, one.Bin)); err != nil {
			t.Fatal(err)
		}
		return bin
	}
	t.Fatalf("the manifest has nothing for %v", here)
	return ""
}

func unpack(t *testing.T, archive, folder string) {
	t.Helper()
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, header.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, header.FileInfo().Mode()); err != nil {
			t.Fatal(err)
		}
	}
}

// kubectl returns the one on the PATH, or that of the local Kubernetes.
func kubectl(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("kubectl"); err == nil {
		return path
	}
	binary, err := cluster.Build(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(filepath.Dir(binary), "kubectl")
}

func TestKrewVersionSyntax(t *testing.T) {
	for _, wrong := range []string{"", "1.2.3", "v1.2", "v1.2.3 ", "latest"} {
		if err := release(t.Context(), wrong, t.TempDir(), "host"); err == nil || !strings.Contains(err.Error(), "v1.2.3") {
			t.Errorf("version %q: %v", wrong, err)
		}
	}
}
