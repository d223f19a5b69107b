package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// setProcessAttributes puts the child in its own process group. A detached child also gets its own
// session, so that the end of the terminal does not reach it. The kernel kills other children when
// their parent dies.
func setProcessAttributes(cmd *exec.Cmd, detached bool) {
	if detached {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killWithParent does nothing on Linux: Pdeathsig kills the child.
func killWithParent(int) (release func()) { return nil }

// processBirth returns the start of the process in clock ticks of this boot. It returns false if
// there is no process, or only its exit code remains. See proc_pid_stat(5).
func processBirth(pid int) (string, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	// The name, in parentheses, can hold spaces and parentheses itself. After it: field 3 is the state, 22 the start.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || bytes.ContainsAny(fields[0], "ZX") {
		return "", false
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", false
	}
	return fmt.Sprintf("%s/%s", bytes.TrimSpace(boot), fields[19]), true
}
