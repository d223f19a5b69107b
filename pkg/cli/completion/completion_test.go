package completion

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKrewFolderIsFoundByItsStore(t *testing.T) {
	for stored, want := range map[string]string{
		"/home/jo/.krew/store/nodecleanup/v1.2.3/kubectl-nodecleanup": "/home/jo/.krew/bin",
		"/opt/krew/store/nodecleanup/v0.1.0/kubectl-nodecleanup":      "/opt/krew/bin",
		"/usr/local/bin/kubectl-nodecleanup":                          "",
		"/home/store/kubectl-nodecleanup":                             "",
	} {
		if got := krewFolder(stored); got != want {
			t.Errorf("%s: got %q, want %q", stored, got, want)
		}
	}
}

func TestFolderOnThePathIsNotKrews(t *testing.T) {
	home := t.TempDir()
	local, bin, krews := filepath.Join(home, ".local", "bin"), filepath.Join(home, "bin"), filepath.Join(home, ".krew", "bin")
	for _, folder := range []string{bin, krews} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got := folderOnPath(home, []string{"/usr/bin", krews}); got != "" {
		t.Errorf("neither is on the PATH, but got %s", got)
	}
	path := []string{krews, local, bin + "/"}
	if got := folderOnPath(home, path); got != bin {
		t.Errorf("got %q, want %s: the other does not exist", got, bin)
	}
	if err := os.MkdirAll(local, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := folderOnPath(home, path); got != local {
		t.Errorf("got %q, want %s", got, local)
	}
}

func TestOnlyOurFormerFileIsRemoved(t *testing.T) {
	folder := t.TempDir()
	for name, content := range map[string]string{"ours": shim, "others": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"ours", "others", "missing"} {
		if err := removeFormer(folder, name, shim); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) != 1 || left[0].Name() != "others" {
		t.Errorf("left are %v, %v", left, err)
	}
}
