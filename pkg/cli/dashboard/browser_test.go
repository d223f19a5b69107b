package dashboard

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Every user of the machine can read the arguments of a process, so the login link is in a file.
func TestLoginLinkIsInAFileOfTheUser(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only xdg-open is replaced by a script")
	}
	folder := t.TempDir()
	seen := filepath.Join(folder, "seen")
	script := "#!/bin/sh\n{ echo \"$@\"; stat -c %a \"$1\" \"$(dirname \"$1\")\"; cat \"$1\"; } > " + seen + ".new\nmv " + seen + ".new " + seen + "\n"
	if err := os.WriteFile(filepath.Join(folder, "xdg-open"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	opened, remove, err := openBrowser(t.Context(), "http://127.0.0.1:1/login?token=hunter2&x=1")
	if err != nil {
		t.Fatal(err)
	}
	<-opened
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitN(string(text), "\n", 4)
	if strings.Contains(lines[0], "hunter2") || lines[1] != "600" || lines[2] != "700" || !strings.Contains(lines[3], `url=http://127.0.0.1:1/login?token=hunter2&amp;x=1"`) {
		t.Errorf("the browser got %q", lines)
	}
	remove()
	if _, err := os.Stat(lines[0]); !os.IsNotExist(err) {
		t.Errorf("the file remains: %v", err)
	}
}
