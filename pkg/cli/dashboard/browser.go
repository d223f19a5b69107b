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

// openBrowser opens a login link in the browser. The browser gets the path of a file that holds the link, because every user of
// the machine can read the arguments of a process. The returned function removes the file.
func openBrowser(ctx context.Context, link string) (remove func(), err error) {
	file, remove, err := writeLink(link)
	if err != nil {
		return nil, err
	}
	opener := opener(runtime.GOOS, file)
	command := exec.CommandContext(ctx, opener[0], opener[1:]...)
	if err := command.Start(); err != nil {
		remove()
		return nil, err
	}
	go func() { _ = command.Wait() }() // Some openers end with the browser. The user sees whether the page is open.
	return remove, nil
}

const redirectPage = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=%[1]s"><title>nodecleanup</title></head>
<body><a href="%[1]s">Open the dashboard</a></body></html>
`

// writeLink writes a page that opens the link, which only this user can read.
func writeLink(link string) (file string, remove func(), err error) {
	folder, err := os.MkdirTemp("", "nodecleanup-dashboard-") // Only this user may enter it.
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(folder) } // The link in it works once and ends by itself.
	file = filepath.Join(folder, "login.html")
	if err := os.WriteFile(file, fmt.Appendf(nil, redirectPage, html.EscapeString(link)), 0o600); err != nil {
		remove()
		return "", nil, err
	}
	return file, remove, nil
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
