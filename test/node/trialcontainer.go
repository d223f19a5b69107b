//go:build linux

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// checkContainer has runc run one program of this machine as a Pod's would be: with
// namespaces, limits and seccomp, and without root.
func checkContainer(ctx context.Context, dir string) (err error) {
	bundle := filepath.Join(dir, "bundle")
	name := "nodecleanup-trial-" + filepath.Base(dir)
	type object = map[string]any
	mounts := []object{{"destination": "/proc", "type": "proc", "source": "proc"}}
	// The program's libraries may be in any of these.
	for _, folder := range []string{"/usr", "/lib", "/lib64", "/bin"} {
		if _, err := os.Stat(folder); err != nil {
			continue
		}
		mounts = append(mounts, object{"destination": folder, "type": "bind", "source": folder, "options": []string{"rbind", "ro"}})
	}
	for _, mount := range mounts {
		if err := os.MkdirAll(filepath.Join(bundle, "rootfs", mount["destination"].(string)), 0o755); err != nil {
			return err
		}
	}
	config, err := json.Marshal(object{
		"ociVersion": "1.0.2",
		"process": object{
			"args": []string{"/bin/true"}, "cwd": "/", "env": []string{"PATH=/bin"}, "noNewPrivileges": true,
			"user": object{"uid": 65532, "gid": 65532},
		},
		"root":   object{"path": "rootfs", "readonly": true},
		"mounts": mounts,
		"linux": object{
			"cgroupsPath": "/" + name,
			"namespaces":  []object{{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}},
			"resources":   object{"memory": object{"limit": 64 << 20}, "cpu": object{"shares": 20}},
			"seccomp": object{
				"defaultAction": "SCMP_ACT_ALLOW",
				"syscalls":      []object{{"names": []string{"ptrace"}, "action": "SCMP_ACT_ERRNO"}},
			},
		},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
		return err
	}
	state := filepath.Join(dir, "runc")
	if err := quiet(exec.CommandContext(ctx, "runc", "--root", state, "run", "--bundle", bundle, name)); err != nil {
		// An unfinished container still exists.
		if _, statErr := os.Stat(filepath.Join(state, name)); statErr == nil {
			err = errors.Join(err, quiet(exec.CommandContext(context.WithoutCancel(ctx), "runc", "--root", state, "delete", "--force", name)))
		}
		return fmt.Errorf("running one: %w", err)
	}
	return nil
}
