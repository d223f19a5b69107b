package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	keptPrefix = "nodecleanup-logs-"
	// keptMost is the number of clusters whose logs are kept, the newest: enough for one run with
	// many failures.
	keptMost = 20
)

// keepLogs copies the logs of the components and the audit log to a folder that Stop does not
// remove, and deletes the logs of old failed runs.
func keepLogs(c *Cluster) (string, error) {
	dir, err := os.MkdirTemp("", keptPrefix+c.Name()+"-")
	if err != nil {
		return "", fmt.Errorf("keeping the cluster's logs: %w", err)
	}
	err = os.CopyFS(dir, os.DirFS(c.Logs()))
	// A request that is being made in the meantime is of no interest, so the file may grow while it is copied.
	if audit, problem := os.ReadFile(c.layout.auditLog()); problem == nil {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "audit.log"), audit, 0o600))
	} else if !errors.Is(problem, fs.ErrNotExist) {
		err = errors.Join(err, problem)
	}
	if err = errors.Join(err, dropKept(os.TempDir(), keptMost)); err != nil {
		return dir, fmt.Errorf("keeping the cluster's logs: %w", err)
	}
	return dir, nil
}

// dropKept removes all folders of keepLogs except the newest ones.
func dropKept(parent string, most int) error {
	found, err := filepath.Glob(filepath.Join(parent, keptPrefix+"*"))
	if err != nil {
		return err
	}
	made := map[string]time.Time{}
	for _, dir := range found {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Tests of another package drop them too.
		}
		if err != nil {
			return err
		}
		made[dir] = info.ModTime()
	}
	slices.SortFunc(found, func(a, b string) int { return made[b].Compare(made[a]) })
	var errs []error
	for _, dir := range found[min(most, len(found)):] {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}
