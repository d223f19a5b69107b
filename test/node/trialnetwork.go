//go:build linux

package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// inNewNamespaces runs f in new network and mount namespaces, which end with their thread. Processes that f
// starts share them.
func inNewNamespaces(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if syscall.Gettid() == syscall.Getpid() {
			// The first thread does not end, and /proc/self refers to it. While it is locked here,
			// f runs on another thread.
			defer runtime.UnlockOSThread()
			result <- inNewNamespaces(f)
			return
		}
		// It is never unlocked, so that the thread ends with this goroutine.
		if err := syscall.Unshare(syscall.CLONE_NEWNET | syscall.CLONE_NEWNS); err != nil {
			result <- fmt.Errorf("making namespaces: %w", err)
			return
		}
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			result <- fmt.Errorf("making mounts private: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}

// checkOverlay mounts an overlay in dir, because the kernel rejects an overlay on some overlays.
func checkOverlay(_ context.Context, dir string) error {
	path := func(name string) string { return filepath.Join(dir, "overlay", name) }
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(path(name), 0o755); err != nil {
			return err
		}
	}
	return inNewNamespaces(func() error {
		layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", path("lower"), path("upper"), path("work"))
		if err := syscall.Mount("overlay", path("merged"), "overlay", 0, layers); err != nil {
			return fmt.Errorf("mounting an overlay: %w", err)
		}
		if err := os.WriteFile(filepath.Join(path("merged"), "file"), nil, 0o600); err != nil {
			return fmt.Errorf("writing to an overlay: %w", err)
		}
		return syscall.Unmount(path("merged"), 0)
	})
}

// Addresses for documentation (RFC 5737), which only the network of the trial has.
const (
	trialService  = "192.0.2.1:443"
	trialEndpoint = "192.0.2.2"
)

// rules are the kinds that kube-proxy writes, for one Service with one endpoint.
const rules = `
table ip nodecleanup-trial {
	map services {
		type inet_proto . ipv4_addr . inet_service : verdict
		elements = { tcp . 192.0.2.1 . 443 : goto service }
	}
	chain service { numgen random mod 1 vmap { 0 : goto endpoint }; }
	chain endpoint { meta l4proto tcp dnat to %s; }
	chain output { type nat hook output priority -100; fib daddr type local ip protocol tcp counter; meta l4proto . ip daddr . th dport vmap @services; }
	chain postrouting { type nat hook postrouting priority 100; meta mark & 0x4000 == 0x4000 masquerade fully-random; }
}
`

// checkService creates a network as CNI does and rules as kube-proxy does, and connects to the endpoint
// through the Service's address.
func checkService(ctx context.Context, _ string) error {
	return inNewNamespaces(func() error {
		for _, arguments := range []string{
			"link set lo up", "address add 192.0.2.0/24 dev lo",
			"link add trial-bridge type bridge", "link add trial-0 type veth peer name trial-1", "link set trial-0 master trial-bridge",
		} {
			if err := quiet(exec.CommandContext(ctx, "ip", strings.Fields(arguments)...)); err != nil {
				return err
			}
		}
		endpoint, err := net.Listen("tcp4", trialEndpoint+":0")
		if err != nil {
			return err
		}
		defer endpoint.Close()
		load := exec.CommandContext(ctx, "nft", "-f", "-")
		load.Stdin = strings.NewReader(fmt.Sprintf(rules, endpoint.Addr()))
		if err := quiet(load); err != nil {
			return err
		}
		connection, err := net.DialTimeout("tcp4", trialService, 5*time.Second)
		if err != nil {
			return fmt.Errorf("the rules for a Service have no effect: %w", err)
		}
		return connection.Close()
	})
}

// quiet runs a command; its error contains the output.
func quiet(command *exec.Cmd) error {
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
