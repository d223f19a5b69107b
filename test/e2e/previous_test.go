//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// previousRelease names the environment variable with the tag of the release that upgrades start
// from. Before the first release, it is empty: then upgrades start from these sources with an
// older version number.
const previousRelease = "NODECLEANUP_PREVIOUS"

// previous is the folder with the sources that upgrades start from.
var previous string

// checkOutPrevious returns the folder of the previous release, and a function that removes it.
func checkOutPrevious(ctx context.Context) (folder string, remove func() error, err error) {
	tag := os.Getenv(previousRelease)
	if tag == "" {
		return root, func() error { return nil }, nil
	}
	if folder, err = os.MkdirTemp("", "previous-"); err != nil {
		return "", nil, err
	}
	git := func(arguments ...string) error {
		said, err := exec.CommandContext(ctx, "git", append([]string{"-C", root, "worktree"}, arguments...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("checking out the previous release %s: %w: %s", tag, err, said)
		}
		return nil
	}
	fmt.Println("Upgrades start from", tag)
	return folder, func() error { return git("remove", "--force", folder) }, git("add", "--detach", folder, tag)
}

// installPrevious installs the version that upgrades start from.
func installPrevious(t *testing.T, arguments ...string) {
	t.Helper()
	arguments = append([]string{"install"}, arguments...)
	if previous == root {
		run(t, exit.OK, arguments...)
		return
	}
	succeeded(t, program(t, previous, "go", append([]string{"run", "./cmd/kubectl-nodecleanup"}, arguments...)...))
}
