//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// bash runs commands for a cluster. The programs folder comes first on the PATH.
type bash struct {
	ctx                             context.Context
	programs, kubeconfig, functions string
}

func (b bash) command(arguments ...string) *exec.Cmd {
	command := exec.CommandContext(b.ctx, "bash", arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+b.kubeconfig, "PATH="+b.programs+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return command
}

func (b bash) show(text string) (string, int, error) {
	fmt.Println(prompt + text)
	var output bytes.Buffer
	command := b.command("-c", text)
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	fmt.Print(output.String())
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", 0, err
	}
	// The reader has the programs in the usual folder.
	return strings.ReplaceAll(output.String(), b.programs, "/usr/local/bin"), command.ProcessState.ExitCode(), nil
}

func (b bash) run(script string) error {
	fmt.Print("(not shown) ", script)
	command := b.command("-euo", "pipefail", "-c", ". "+b.functions+"\n"+script)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s\n%s", err, script, output)
	}
	return nil
}
