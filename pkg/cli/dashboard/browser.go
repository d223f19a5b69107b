package dashboard

import (
	"context"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// redirectPage opens the login link. The browser gets the path of a file, because every user of the machine can read the
// arguments of a process.
const redirectPage = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=%[1]s"><title>nodecleanup</title></head>
<body><a href="%[1]s">Open the dashboard</a></body></html>
`

// openBrowser opens a link in the browser. Opened is closed when the program that opens it has ended, which some do only
// with the browser. Remove removes the file that held the link.
func openBrowser(ctx context.Context, link string) (opened <-chan struct{}, remove func(), err error) {
	folder, err := os.MkdirTemp("", "nodecleanup-dashboard-") // Only this user may enter it.
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.RemoveAll(folder) } // The link in it works once and ends by itself.
	file := filepath.Join(folder, "login.html")
	if err := os.WriteFile(file, fmt.Appendf(nil, redirectPage, html.EscapeString(link)), 0o600); err != nil {
		remove()
		return nil, nil, err
	}
	opener := opener(runtime.GOOS, file)
	command := exec.CommandContext(ctx, opener[0], opener[1:]...)
	if err := command.Start(); err != nil {
		remove()
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait() // The user sees whether the page is open.
	}()
	return ended, remove, nil
}

// opener returns the command that opens a file in the browser.
func opener(system, file string) []string {
	switch system {
	case "darwin":
		return []string{"open", file}
	case "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler", file}
	}
	return []string{"xdg-open", file}
}
