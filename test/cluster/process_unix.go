//go:build unix && !linux

package cluster

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// setProcessAttributes puts the child in its own process group. A detached child also gets its own
// session, so that the end of the terminal does not reach it.
func setProcessAttributes(cmd *exec.Cmd, detached bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !detached, Setsid: detached}
}

// killWithParent kills the process group when this process dies, for systems without a parent-death
// signal: a shell waits for the end of a pipe that the kernel then closes. The returned function ends the
// shell without killing the group; it is nil if there is no shell.
func killWithParent(group int) (release func()) {
	watch := exec.Command("/bin/sh", "-c", `read -r word || kill -s KILL -- "-$1"`, "killWithParent", strconv.Itoa(group))
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

// processBirth returns the start of the process, and false if there is no process or only its exit
// code remains.
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
