package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// openLog opens a log to append to it, and gives its size in bytes.
func openLog(path string) (*os.File, int64, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, 0, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// readFrom returns the content of the file from that byte on.
func readFrom(path string, offset int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(file)
}

// logTail returns the last lines of a log from that byte on, to be appended to an error; empty when there are none.
func logTail(path string, offset int64) string {
	const most = 15
	output, err := readFrom(path, offset)
	if err != nil || len(bytes.TrimSpace(output)) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(output), "\n"), "\n")
	lines = lines[max(0, len(lines)-most):]
	return fmt.Sprintf("; the end of %s:\n  %s", path, strings.Join(lines, "\n  "))
}
