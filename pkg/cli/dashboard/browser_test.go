package dashboard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every user of the machine can read the arguments of a process, so the login link is in a file of this user.
func TestLoginLinkIsInAFileOfTheUser(t *testing.T) {
	file, remove, err := writeLink("http://127.0.0.1:1/login?token=hunter2&x=1")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), `url=http://127.0.0.1:1/login?token=hunter2&amp;x=1"`) {
		t.Errorf("the file has %q, %v", text, err)
	}
	for _, system := range []string{"linux", "darwin", "windows"} {
		if arguments := strings.Join(opener(system, file), " "); strings.Contains(arguments, "hunter2") || !strings.HasSuffix(arguments, " "+file) {
			t.Errorf("%s: %s", system, arguments)
		}
	}
	remove()
	if _, err := os.Stat(filepath.Dir(file)); !os.IsNotExist(err) {
		t.Errorf("the folder remains: %v", err)
	}
}
