// Package completion is the command that prints completion scripts and enables completion in
// kubectl.
package completion

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// shimName is the program that kubectl searches on the PATH to complete `kubectl nodecleanup`.
const shimName = "kubectl_complete-nodecleanup"

// shim hands the words on to this program. kubectl calls it with the words after
// "nodecleanup", the last one unfinished.
const shim = `#!/usr/bin/env sh
# Made by: kubectl nodecleanup completion kubectl --install
# kubectl calls this to complete: kubectl nodecleanup <TAB>
exec kubectl nodecleanup __complete "$@"
`

const windowsShim = "@echo off\r\nrem Made by: kubectl nodecleanup completion kubectl --install\r\nkubectl nodecleanup __complete %*\r\n"

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	install := false
	shells := map[string]func(*cobra.Command, io.Writer) error{
		"bash": func(root *cobra.Command, out io.Writer) error {
			const descriptions = true
			return root.GenBashCompletionV2(out, descriptions)
		},
		"zsh":        func(root *cobra.Command, out io.Writer) error { return root.GenZshCompletion(out) },
		"fish":       func(root *cobra.Command, out io.Writer) error { return root.GenFishCompletion(out, true) },
		"powershell": func(root *cobra.Command, out io.Writer) error { return root.GenPowerShellCompletionWithDesc(out) },
	}
	names := []string{"bash", "fish", "kubectl", "powershell", "zsh"}
	cmd := &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell|kubectl",
		Short: "Generate shell completion",
		Long: `Generate shell completion: commands, flags, and the names of nodes, plugins and
past cleanups.

To complete "kubectl nodecleanup", kubectl runs the program kubectl_complete-nodecleanup
from the PATH. "completion kubectl --install" writes that program next to
kubectl-nodecleanup. For a Krew install, it writes to ~/.local/bin or ~/bin instead,
because Krew fails if its folder contains other files.

The scripts for bash, zsh, fish and PowerShell complete only "kubectl-nodecleanup".`,
		Example: `  # Complete "kubectl nodecleanup", in every shell with kubectl's completion
  kubectl nodecleanup completion kubectl --install

  # Complete "kubectl-nodecleanup", in the running bash
  source <(kubectl-nodecleanup completion bash)`,
		Args: func(cmd *cobra.Command, arguments []string) error {
			if len(arguments) != 1 {
				return exit.Usagef("%s takes one of %s", cmd.CommandPath(), strings.Join(names, ", "))
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, arguments []string) error {
			if arguments[0] == "kubectl" {
				return forKubectl(environment, install)
			}
			if install {
				return exit.Usagef("--install is only for kubectl; for %s, see the documentation of the shell", arguments[0])
			}
			generate, known := shells[arguments[0]]
			if !known {
				return exit.Usagef("unknown shell %q: it is one of %s", arguments[0], strings.Join(names, ", "))
			}
			// A shell completes by the name of the program that it starts.
			root := cmd.Root()
			root.Use = "kubectl-nodecleanup"
			delete(root.Annotations, cobra.CommandDisplayNameAnnotation)
			return generate(root, environment.Out)
		},
	}
	cmd.Flags().BoolVar(&install, "install", false, "With kubectl: write the program instead of printing it")
	return cmd
}

func forKubectl(environment *command.Environment, install bool) error {
	name, content := shimName, shim
	if runtime.GOOS == "windows" {
		name, content = shimName+".cmd", windowsShim
	}
	if !install {
		_, err := fmt.Fprint(environment.Out, content)
		return err
	}
	folder, err := folder(name, content)
	if err != nil {
		return err
	}
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		return &exit.Error{
			Code: exit.Failure, Err: fmt.Errorf("writing the program that kubectl completes by: %w", err),
			Next: fmt.Sprintf("Write it into a folder of your PATH: kubectl nodecleanup completion kubectl > FOLDER/%s && chmod +x FOLDER/%[1]s", name),
		}
	}
	// An old file keeps its mode when it is rewritten.
	if err := os.Chmod(path, 0o755); err != nil {
		return fmt.Errorf("making %s executable: %w", path, err)
	}
	fmt.Fprintln(environment.Out, path)
	return nil
}

// folder returns the folder for the program. It removes the file that an earlier version wrote
// into Krew's folder.
func folder(name, content string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding out where this program is: %w", err)
	}
	resolved, err := filepath.EvalSymlinks(self)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("finding out where this program is: %w", err)
	}
	krews := krewFolder(resolved)
	if krews == "" {
		return filepath.Dir(self), nil
	}
	if err := removeFormer(krews, name, content); err != nil {
		return "", err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding a folder that is not Krew's: %w", err)
	}
	target := folderOnPath(home, filepath.SplitList(os.Getenv("PATH")))
	if target == "" {
		local := filepath.Join(home, ".local", "bin")
		return "", &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("finding a folder for %s: neither %s nor %s is on the PATH, and Krew fails if %s holds a file of another program", shimName, local, filepath.Join(home, "bin"), krews),
			Next: fmt.Sprintf("Create %s, add it to your PATH, and run this again", local),
		}
	}
	return target, nil
}

// krewFolder returns the folder of links on the PATH of the Krew that has stored this program,
// or nothing. Only Krew may write there: if it holds a file and Krew has installed nothing, every
// krew command fails with "krew home outdated".
// https://github.com/kubernetes-sigs/krew/blob/v0.4.5/internal/receiptsmigration/migration.go
func krewFolder(stored string) string {
	const store = "store"
	parts := strings.Split(filepath.ToSlash(stored), "/")
	for i := len(parts) - 2; i > 0; i-- {
		// ROOT/store/nodecleanup/v1.2.3/kubectl-nodecleanup; ROOT/bin is on the PATH.
		if parts[i] == store && parts[i+1] == "nodecleanup" {
			return filepath.FromSlash(strings.Join(append(parts[:i:i], "bin"), "/"))
		}
	}
	return ""
}

// folderOnPath returns the folder for programs in a home folder that is on the PATH, or nothing.
func folderOnPath(home string, path []string) string {
	for _, folder := range []string{filepath.Join(home, ".local", "bin"), filepath.Join(home, "bin")} {
		for _, on := range path {
			if filepath.Clean(on) != folder {
				continue
			}
			if info, err := os.Stat(folder); err == nil && info.IsDir() {
				return folder
			}
		}
	}
	return ""
}

// removeFormer removes the program that an earlier version wrote into Krew's folder.
func removeFormer(krews, name, content string) error {
	former := filepath.Join(krews, name)
	written, err := os.ReadFile(former)
	if errors.Is(err, os.ErrNotExist) || err == nil && string(written) != content {
		return nil
	}
	if err == nil {
		err = os.Remove(former)
	}
	if err != nil {
		return fmt.Errorf("removing what an earlier version wrote into Krew's folder: %w", err)
	}
	return nil
}
