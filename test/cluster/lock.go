package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// fileLock is an exclusive lock on a file. The kernel releases it when the process exits.
type fileLock struct {
	file *os.File
}

// tryLock creates the file if needed and locks it. It returns nil if another process holds the lock.
func tryLock(path string) (*fileLock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil && sameFile(file, path) {
		return &fileLock{file}, nil
	}
	file.Close()
	if err == nil || errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("locking %s: %w", path, err)
}

// lock waits for the lock until ctx is done. It calls waiting once when another process holds it.
func lock(ctx context.Context, path string, waiting func()) (*fileLock, error) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		held, err := tryLock(path)
		if held != nil || err != nil {
			return held, err
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock %s: %w", path, context.Cause(ctx))
		}
	}
}

// Lock waits for the lock on a file until ctx is done, and returns a function that releases it. It
// calls waiting once if another process holds the lock.
func Lock(ctx context.Context, path string, waiting func()) (release func() error, err error) {
	held, err := lock(ctx, path, waiting)
	if err != nil {
		return nil, err
	}
	return held.release, nil
}

// release unlocks the file and removes it.
func (l *fileLock) release() error {
	return errors.Join(os.Remove(l.file.Name()), l.file.Close())
}

// sameFile reports whether the path still refers to the open file. It does not if the last holder
// removed the file while we waited.
func sameFile(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(open, named)
}
