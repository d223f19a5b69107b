package rookceph_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// missingPrograms returns the programs of Ceph that are not installed.
func missingPrograms() string {
	var missing []string
	for _, program := range []string{"ceph", "ceph-authtool", "ceph-mgr", "ceph-mon", "ceph-osd", "monmaptool", "python3", "rados"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	return strings.Join(missing, ", ")
}

const (
	osdCount = 3
	// osdSize is the size of the file of an OSD, in bytes. The file is sparse.
	osdSize = 2 << 30
)

// cephTimeout is long enough for Ceph to recover on a busy machine.
const cephTimeout = 4 * time.Minute

// ceph is a Ceph with one monitor, one manager and three OSDs, each on a host of its own in the CRUSH map. It runs on
// loopback and keeps its data in files.
type ceph struct {
	*testing.T
	dir, monitors string
	// osds are the processes, and uuids their UUIDs, by id.
	osds  []*cluster.Process
	uuids []string
}

// startCeph starts a Ceph with a pool that keeps that number of copies on different hosts.
func startCeph(t *testing.T, copies int) *ceph {
	t.Helper()
	if missing := missingPrograms(); missing != "" {
		t.Skipf("skipped: %s missing (Debian: apt-get install ceph-base ceph-mon ceph-mgr ceph-osd ceph-common)", missing)
	}
	c := &ceph{T: t, dir: t.TempDir()}
	c.monitors = fmt.Sprintf("[v2:127.0.0.1:%d,v1:127.0.0.1:%d]", freePort(t), freePort(t))
	fsid := string(uuid.NewUUID())
	// The heartbeats are shorter than the defaults, so that an OSD that was stopped is soon down.
	c.write("ceph.conf", fmt.Sprintf(`[global]
fsid = %[1]s
mon initial members = a
mon host = %[2]s
public addr = 127.0.0.1
keyring = %[3]s/keyring
admin socket =
run dir = %[3]s
log file =
mon cluster log file =
auth allow insecure global id reclaim = false
osd pool default size = %[4]d
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd heartbeat interval = 1
osd heartbeat grace = 5
mon osd min down reporters = 1
mon osd down out interval = 0
osd fast shutdown notify mon = true
mgr initial modules =
mgr tick period = 1
mgr stats period = 1
[mon]
mon data = %[3]s/mon
[mgr]
mgr data = %[3]s/mgr
[osd]
osd data = %[3]s/osd$id
bluestore block create = true
bluestore block size = %[5]d
bluestore cache autotune = false
bluestore cache size = 33554432
osd crush update on start = false
osd class update on start = false
`, fsid, c.monitors, c.dir, copies, osdSize))
	keyring, monmap := c.path("keyring"), c.path("monmap")
	c.command("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
	c.command("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", "--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
	c.command("ceph-authtool", keyring, "--gen-key", "-n", "mgr.x", "--cap", "mon", "allow profile mgr", "--cap", "osd", "allow *")
	c.command("monmaptool", "--create", "--fsid", fsid, "--addv", "a", c.monitors, monmap)
	c.mkdir("mon")
	c.command("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
	c.start("ceph-mon", "a")
	c.admin("mon", "stat")
	c.mkdir("mgr")
	c.start("ceph-mgr", "x")
	for id := range osdCount {
		c.addOSD(id, fmt.Sprint("host", id))
	}
	c.admin("osd", "pool", "create", "data", "8", "8")
	c.put(20)
	c.awaitClean()
	return c
}

// addOSD creates the next OSD, which must get that id, and starts it.
func (c *ceph) addOSD(id int, host string) {
	c.Helper()
	unique, folder := string(uuid.NewUUID()), fmt.Sprint("osd", id)
	if err := os.RemoveAll(c.path(folder)); err != nil {
		c.Fatal(err)
	}
	c.mkdir(folder)
	key := strings.TrimSpace(c.command("ceph-authtool", "--gen-print-key"))
	c.write("secret.json", fmt.Sprintf(`{"cephx_secret": %q}`, key))
	if got := strings.TrimSpace(c.admin("osd", "new", unique, "-i", c.path("secret.json"))); got != fmt.Sprint(id) {
		c.Fatalf("the new OSD has the id %s, want %d", got, id)
	}
	keyring := filepath.Join(c.path(folder), "keyring")
	c.command("ceph-authtool", "--create-keyring", keyring, "-n", fmt.Sprint("osd.", id), "--add-key", key)
	c.command("ceph-osd", "-i", fmt.Sprint(id), "--mkfs", "--osd-uuid", unique, "--keyring", keyring)
	c.admin("osd", "crush", "add-bucket", host, "host")
	c.admin("osd", "crush", "move", host, "root=default")
	c.admin("osd", "crush", "add", fmt.Sprint("osd.", id), "0.002", "host="+host)
	process := c.start("ceph-osd", fmt.Sprint(id), "--keyring", keyring)
	if id < len(c.osds) {
		c.osds[id], c.uuids[id] = process, unique
		return
	}
	c.osds, c.uuids = append(c.osds, process), append(c.uuids, unique)
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func (c *ceph) path(name string) string { return filepath.Join(c.dir, name) }

func (c *ceph) write(name, text string) {
	c.Helper()
	if err := os.WriteFile(c.path(name), []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
}

func (c *ceph) mkdir(name string) {
	c.Helper()
	if err := os.MkdirAll(c.path(name), 0o700); err != nil {
		c.Fatal(err)
	}
}

// start starts a daemon until the test ends.
func (c *ceph) start(program, id string, arguments ...string) *cluster.Process {
	c.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		c.Fatal(err)
	}
	process := cluster.NewProcess(cluster.Command{
		Name: program + "-" + id, Path: path, Args: append([]string{"-f", "-c", c.path("ceph.conf"), "-i", id, "--setuser-match-path", c.dir}, arguments...),
	}, c.path("logs"))
	if err := process.Start(c.Context()); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if process.Running() {
			if err := process.Kill(); err != nil {
				c.Error(err)
			}
		}
	})
	return process
}

// command runs a program of Ceph and returns its output.
func (c *ceph) command(program string, arguments ...string) string {
	c.Helper()
	output, err := c.try(c.Context(), program, arguments...)
	if err != nil {
		c.Fatal(err)
	}
	return output
}

func (c *ceph) try(ctx context.Context, program string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, cephTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, program, append([]string{"-c", c.path("ceph.conf")}, arguments...)...)
	if program == "ceph-authtool" || program == "monmaptool" {
		command = exec.CommandContext(ctx, program, arguments...)
	}
	var output, failure bytes.Buffer
	command.Stdout, command.Stderr = &output, &failure
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(arguments, " "), err, &failure)
	}
	return output.String(), nil
}

// admin runs a command as the administrator.
func (c *ceph) admin(arguments ...string) string {
	c.Helper()
	return c.command("ceph", arguments...)
}

// put writes that number of objects.
func (c *ceph) put(count int) {
	c.Helper()
	c.write("object", strings.Repeat("data ", 20_000))
	for i := range count {
		c.command("rados", "-p", "data", "put", fmt.Sprint("object-", i), c.path("object"))
	}
}

// state is what the administrator sees.
type state struct {
	// Known, Up and In are OSDs by their id.
	Known, Up, In map[int]bool
	// Copies is the number of copies that all objects should have, Degraded those that are missing.
	Objects, Degraded, Unclean int
	Hosts                      []string
}

func (c *ceph) state(ctx context.Context) (state, error) {
	s := state{Known: map[int]bool{}, Up: map[int]bool{}, In: map[int]bool{}}
	var dump struct {
		OSDs []struct{ OSD, Up, In int }
	}
	var status struct {
		PGMap struct {
			Objects  int `json:"num_objects"`
			Degraded int `json:"degraded_objects"`
			PGs      int `json:"num_pgs"`
			States   []struct {
				Name  string `json:"state_name"`
				Count int
			} `json:"pgs_by_state"`
		}
	}
	var tree struct{ Nodes []struct{ Name, Type string } }
	for _, one := range []struct {
		into      any
		arguments []string
	}{{&dump, []string{"osd", "dump"}}, {&status, []string{"status"}}, {&tree, []string{"osd", "tree"}}} {
		text, err := c.try(ctx, "ceph", append(one.arguments, "-f", "json")...)
		if err == nil {
			err = json.Unmarshal([]byte(text), one.into)
		}
		if err != nil {
			return s, err
		}
	}
	for _, osd := range dump.OSDs {
		s.Known[osd.OSD], s.Up[osd.OSD], s.In[osd.OSD] = true, osd.Up == 1, osd.In == 1
	}
	s.Objects, s.Degraded, s.Unclean = status.PGMap.Objects, status.PGMap.Degraded, status.PGMap.PGs
	for _, one := range status.PGMap.States {
		if one.Name == "active+clean" {
			s.Unclean -= one.Count
		}
	}
	for _, node := range tree.Nodes {
		if node.Type == "host" {
			s.Hosts = append(s.Hosts, node.Name)
		}
	}
	return s, nil
}

// awaitClean waits until every placement group has all its copies.
func (c *ceph) awaitClean() state {
	c.Helper()
	var last state
	err := wait.PollUntilContextTimeout(c.Context(), 500*time.Millisecond, cephTimeout, true, func(ctx context.Context) (bool, error) {
		var err error
		last, err = c.state(ctx)
		return err == nil && last.Unclean == 0 && last.Degraded == 0 && last.Objects > 0, err
	})
	if err != nil {
		c.Fatalf("waiting until Ceph is clean: %v, %+v", err, last)
	}
	return last
}

// stop ends the process of an OSD.
func (c *ceph) stop(ctx context.Context, id int) error {
	if !c.osds[id].Running() {
		return nil
	}
	if err := c.osds[id].Stop(ctx); err != nil {
		return fmt.Errorf("stopping osd.%d: %w", id, err)
	}
	return nil
}

// resume starts the process of an OSD again.
func (c *ceph) resume(ctx context.Context, id int) error {
	if c.osds[id].Running() {
		return nil
	}
	if err := c.osds[id].Start(ctx); err != nil {
		return errors.Join(fmt.Errorf("starting osd.%d again", id), err)
	}
	return nil
}
