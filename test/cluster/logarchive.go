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
	// maxKeptLogs is the number of clusters whose logs are kept, the newest first: enough for one run
	// with many failures.
	maxKeptLogs = 20
)

// archiveLogs copies the logs of the components and the audit log to a folder that Stop does not
// remove, and deletes the logs of old failed runs.
func archiveLogs(c *Cluster) (string, error) {
	dir, err := os.MkdirTemp("", keptPrefix+c.Name()+"-")
	if err != nil {
		return "", fmt.Errorf("archiving the cluster's logs: %w", err)
	}
	err = os.CopyFS(dir, os.DirFS(c.Logs()))
	// The file may grow during the copy: later requests do not matter.
	if audit, problem := os.ReadFile(c.layout.auditLog()); problem == nil {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "audit.log"), audit, 0o600))
	} else if !errors.Is(problem, fs.ErrNotExist) {
		err = errors.Join(err, problem)
	}
	if err = errors.Join(err, pruneLogs(os.TempDir(), maxKeptLogs)); err != nil {
		return dir, fmt.Errorf("archiving the cluster's logs: %w", err)
	}
	return dir, nil
}

// pruneLogs removes all folders of archiveLogs except the newest.
func pruneLogs(parent string, most int) error {
	found, err := filepath.Glob(filepath.Join(parent, keptPrefix+"*"))
	if err != nil {
		return err
	}
	made := map[string]time.Time{}
	for _, dir := range found {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Tests of another package prune them too.
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
