package config

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"k8s.io/kubectl/pkg/util/term"
)

// editorCommand returns the user's editor as kubectl finds it. A value with quotes is a command of
// the shell.
func editorCommand(variable func(string) string) []string {
	editor := "vi"
	if runtime.GOOS == "windows" {
		editor = "notepad"
	}
	for _, name := range []string{"EDITOR", "KUBE_EDITOR"} {
		if value := strings.TrimSpace(variable(name)); value != "" {
			editor = value
		}
	}
	if !strings.ContainsAny(editor, `"'\`) || runtime.GOOS == "windows" {
		return strings.Fields(editor)
	}
	return []string{"sh", "-c", editor + ` "$@"`, editor}
}

// inEditor has the user edit a text in a temporary file, and returns its name and its new content.
func (o *Options) inEditor(text string) (file, edited string, err error) {
	written, err := os.CreateTemp("", "nodecleanup-config-*.yaml")
	if err != nil {
		return "", "", fmt.Errorf("creating a file for the editor: %w", err)
	}
	file = written.Name()
	_, err = written.WriteString(text)
	if closing := written.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return file, "", fmt.Errorf("writing %s for the editor: %w", file, err)
	}
	command := append(editorCommand(os.Getenv), file)
	editor := exec.Command(command[0], command[1:]...)
	editor.Stdin, editor.Stdout, editor.Stderr = o.In, o.Out, o.ErrOut
	// TTY restores the terminal if the editor leaves it changed.
	if err := (term.TTY{In: o.In, TryDev: true}).Safe(editor.Run); err != nil {
		return file, "", fmt.Errorf("running the editor %q: %w", strings.Join(command, " "), err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return file, "", fmt.Errorf("reading what the editor wrote: %w", err)
	}
	return file, string(data), nil
}
