//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Stop ends the node and every container on it, and reverts its changes to this machine.
func (n *Node) Stop(ctx context.Context) error {
	var failed error
	note := func(what string, err error) {
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("stopping the node: %s: %w", what, err))
		}
	}
	// containerd is stopped last: it ends the containers.
	for i, process := range slices.Backward(n.processes) {
		if i == 0 {
			note("ending the containers", n.endContainers(ctx))
		}
		note("ending a process", process.Stop(ctx))
	}
	note("unmounting", unmountBelow(n.dir))
	note("removing its network", removeNetwork(ctx))
	note("removing its files", os.RemoveAll(n.dir))
	note("releasing its lock", n.unlock())
	return failed
}

// removeNetwork removes the settings of CNI and kube-proxy. They do not exist if the node failed
// before it set them.
func removeNetwork(ctx context.Context) error {
	var failed error
	for _, command := range [][]string{
		{"ip", "link", "delete", bridge}, {"nft", "delete", "table", "ip", "kube-proxy"}, {"nft", "delete", "table", "ip6", "kube-proxy"},
	} {
		output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
		if text := string(output); err != nil && !strings.Contains(text, "Cannot find device") && !strings.Contains(text, "No such file") {
			failed = errors.Join(failed, fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, text))
		}
	}
	return failed
}

func (n *Node) endContainers(ctx context.Context) (err error) {
	if n.processes[0].PID() == 0 {
		return nil
	}
	// Containers of a Pod share a process, which ends with the first deleted container. Then
	// deleting the others fails, so only the remaining containers matter.
	var failed error
	ended := map[string]bool{}
	defer func() { err = errors.Join(err, removeCgroups(maps.Keys(ended))) }()
	for range 3 {
		containers, err := n.ctr(ctx, "tasks", "list", "--quiet")
		if err != nil {
			return fmt.Errorf("listing them: %w", err)
		}
		failed = nil
		for _, container := range strings.Fields(containers) {
			ended[container] = true
			if _, err := n.ctr(ctx, "tasks", "delete", "--force", container); err != nil {
				failed = errors.Join(failed, fmt.Errorf("container %s: %w", container, err))
			}
		}
		if failed == nil {
			return nil
		}
	}
	return failed
}

// removeCgroups removes the cgroups of killed containers, which runc leaves: in each hierarchy of
// cgroups v1, or in the only one of v2.
func removeCgroups(containers iter.Seq[string]) error {
	var failed error
	for container := range containers {
		for _, pattern := range []string{"/sys/fs/cgroup/k8s.io/", "/sys/fs/cgroup/*/k8s.io/"} {
			folders, err := filepath.Glob(pattern + container)
			failed = errors.Join(failed, err)
			for _, folder := range folders {
				failed = errors.Join(failed, os.Remove(folder))
			}
		}
	}
	return failed
}

// unmountBelow unmounts everything in a folder, the innermost first, and the remaining network
// namespaces of Pods.
func unmountBelow(folder string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var failed error
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[1], folder+"/") && !strings.HasPrefix(fields[1], "/run/netns/cni-") && !strings.HasPrefix(fields[1], "/var/run/netns/cni-") {
			continue
		}
		if err := syscall.Unmount(fields[1], syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", fields[1], err))
			continue
		}
		if strings.Contains(fields[1], "/netns/cni-") {
			failed = errors.Join(failed, os.Remove(fields[1]))
		}
	}
	return failed
}
