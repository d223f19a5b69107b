//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// trialTime limits all trials together; they take about a second.
const trialTime = 30 * time.Second

// CheckRequirements returns an error that names the first missing requirement for a node, or nil. It tests
// each feature by using it, because a sandbox can contain features without an effect. It reverts its
// changes.
func CheckRequirements() error {
	ctx, cancel := context.WithTimeout(context.Background(), trialTime)
	defer cancel()
	if os.Geteuid() != 0 {
		return errors.New("a node needs root")
	}
	for _, program := range []struct{ name, debian string }{{"runc", "runc"}, {"nft", "nftables"}, {"ip", "iproute2"}} {
		if _, err := exec.LookPath(program.name); err != nil {
			return fmt.Errorf("a node needs the program %s (Debian: apt-get install %s)", program.name, program.debian)
		}
	}
	for _, plugin := range []string{"bridge", "host-local", "loopback"} {
		if _, err := os.Stat(filepath.Join(cniPlugins, plugin)); err != nil {
			return fmt.Errorf("a node needs the CNI plugins (Debian: apt-get install containernetworking-plugins): %w", err)
		}
	}
	if _, err := Address(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "node-trial-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, trial := range []struct {
		needs string
		run   func(ctx context.Context, dir string) error
	}{
		{"kernel settings that it may write", checkKernelSettings},
		{"the kernel's log", checkKernelLog},
		{"overlay mounts in " + os.TempDir(), checkOverlay},
		{"network namespaces with bridges and nftables that work", checkService},
		{"containers: namespaces, cgroups and seccomp", checkContainer},
	} {
		if err := trial.run(ctx, dir); err != nil {
			return fmt.Errorf("a node needs %s: %w", trial.needs, err)
		}
	}
	return nil
}

// checkKernelSettings checks that kernel settings are writable. The kubelet exits if it cannot
// correct them, and CNI needs packet forwarding.
func checkKernelSettings(context.Context, string) error {
	for setting, wanted := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000", "net/ipv4/ip_forward": "1",
	} {
		path := filepath.Join("/proc/sys", setting)
		value, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(value)) == wanted {
			continue
		}
		// The same value again changes nothing.
		if err := os.WriteFile(path, value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// checkKernelLog: the kubelet looks there for processes that ran out of memory.
func checkKernelLog(context.Context, string) error {
	file, err := os.Open("/dev/kmsg")
	if err != nil {
		return err
	}
	return file.Close()
}
