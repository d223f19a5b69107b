//go:build unix && !linux

package cluster

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// setProcessAttributes puts the child in a process group of its own. A detached child gets a session of its own too,
// so that the end of the terminal does not reach it.
func setProcessAttributes(cmd *exec.Cmd, detached bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !detached, Setsid: detached}
}

// leash kills the process group when this process dies, for systems without a parent-death signal: a shell waits for
// the end of a pipe that the kernel closes then. The function it gives ends that shell and lets the group live; it
// is nil when there is no shell.
func leash(group int) (release func()) {
	watch := exec.Command("/bin/sh", "-c", `read -r word || kill -s KILL -- "-$1"`, "leash", strconv.Itoa(group))
	watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := watch.StdinPipe()
	if err != nil {
		return nil
	}
	if err := watch.Start(); err != nil {
		return nil
	}
	return func() {
		_, _ = pipe.Write([]byte("release\n"))
		_ = watch.Wait()
	}
}

// processBirth returns when the process was started, and false when there is none or only its exit code is left.
func processBirth(pid int) (string, bool) {
	out, err := exec.Command("/bin/ps", "-o", "stat=", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", false
	}
	state, born, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if !ok || strings.HasPrefix(state, "Z") {
		return "", false
	}
	return strings.TrimSpace(born), true
}
