//go:build linux

package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// spoiled names the environment variable that makes this program break its machine in one way,
// print the result of CheckRequirements, and exit.
const spoiled = "NODECLEANUP_SPOILED"

func TestMain(m *testing.M) {
	how, is := os.LookupEnv(spoiled)
	if !is {
		os.Exit(m.Run())
	}
	if err := spoil(how); err != nil {
		fmt.Println("spoiling failed:", err)
		os.Exit(2)
	}
	fmt.Println(CheckRequirements())
}

// spoil changes the mounts of this process, which are its own.
func spoil(how string) error {
	if how == "" {
		return nil
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	switch how {
	case "read-only cgroups":
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(mounts)) {
			if folder := strings.Fields(line)[1]; strings.HasPrefix(folder, "/sys/fs/cgroup") {
				err = errors.Join(err, syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
			}
		}
		return err
	case "overlay below":
		dir, err := os.MkdirTemp("", "spoiled-")
		if err != nil {
			return err
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
		path := func(name string) string { return filepath.Join(dir, name) }
		for _, name := range []string{"lower", "upper", "work", "merged"} {
			if err := os.Mkdir(path(name), 0o755); err != nil {
				return err
			}
		}
		if err := os.Setenv("TMPDIR", path("merged")); err != nil {
			return err
		}
		return syscall.Mount("overlay", path("merged"), "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", path("lower"), path("upper"), path("work")))
	}
	return fmt.Errorf("there is no way %q", how)
}

// CheckRequirements must detect each missing requirement, because otherwise a test on such a machine fails.
func TestUnfitNamesMissingRequirements(t *testing.T) {
	if err := CheckRequirements(); err != nil {
		t.Skip("skipped: this machine lacks something already: ", err)
	}
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	rootless := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}},
	}
	ownMounts := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	for name, test := range map[string]struct {
		spoil   string
		process *syscall.SysProcAttr
		path    string
		says    string
	}{
		"not root":            {process: nobody, says: "needs root"},
		"root of a namespace": {process: rootless, says: "needs "},
		"no runc":             {path: programsBut(t, "runc", ""), says: "needs the program runc"},
		"no nft":              {path: programsBut(t, "nft", ""), says: "needs the program nft"},
		"nft does nothing":    {path: programsBut(t, "nft", "cat >/dev/null"), says: "the rules for a Service have no effect"},
		"runc fails":          {path: programsBut(t, "runc", "echo no cgroups here >&2; exit 1"), says: "no cgroups here"},
		"read-only cgroups":   {spoil: "read-only cgroups", process: ownMounts, says: "needs containers"},
		"overlay below":       {spoil: "overlay below", process: ownMounts, says: "needs overlay mounts"},
	} {
		t.Run(name, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), "/proc/self/exe")
			command.Env = append(os.Environ(), spoiled+"="+test.spoil, "TMPDIR="+t.TempDir())
			if test.path != "" {
				command.Env = append(command.Env, "PATH="+test.path)
			}
			command.SysProcAttr = test.process
			said, err := command.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			if !strings.Contains(string(said), test.says) {
				t.Errorf("said %q, want %q", said, test.says)
			}
		})
	}
}

// programsBut returns a PATH on which one program is missing, or is a shell script.
func programsBut(t *testing.T, spoiled, script string) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"runc", "nft", "ip", "cat"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(folder, name)
		switch {
		case name != spoiled:
			err = os.Symlink(path, link)
		case script != "":
			err = os.WriteFile(link, []byte("#!/bin/sh\n"+script+"\n"), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
