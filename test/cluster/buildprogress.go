package cluster

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// buildProgress condenses the stderr of go into a line from time to time. go names each downloaded
// module and, with -v, each compiled package; cached packages are not named.
type buildProgress struct {
	out   io.Writer
	began time.Time

	mu         sync.Mutex
	partial    []byte
	downloaded int
	compiled   int
	total      int
	rest       []string // lines that are neither: errors
}

func newBuildProgress(out io.Writer) *buildProgress {
	return &buildProgress{out: out, began: time.Now()}
}

// packages sets the number of packages.
func (b *buildProgress) packages(total int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total = total
}

// Write takes the next bytes of stderr.
func (b *buildProgress) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.partial = append(b.partial, data...)
	for {
		line, rest, ok := bytes.Cut(b.partial, []byte("\n"))
		if !ok {
			return len(data), nil
		}
		b.partial = rest
		b.line(string(line))
	}
}

func (b *buildProgress) line(line string) {
	switch {
	case strings.HasPrefix(line, "go: downloading "):
		b.downloaded++
	case line != "" && !strings.ContainsAny(line, " :\t#"):
		b.compiled++
	default:
		b.rest = append(b.rest, line)
	}
}

// every writes a line at that interval until the function it gives is called.
func (b *buildProgress) every(interval time.Duration) (stop func()) {
	done := make(chan struct{})
	ticker := time.NewTicker(interval)
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				fmt.Fprintln(b.out, b.status())
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

func (b *buildProgress) status() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	elapsed := time.Since(b.began).Round(time.Second)
	if b.compiled == 0 {
		return fmt.Sprintf("  %6s  %d modules downloaded", elapsed, b.downloaded)
	}
	return fmt.Sprintf("  %6s  %d of %d packages compiled", elapsed, b.compiled, b.total)
}

// tail returns the last lines without progress lines, to be appended to an error.
func (b *buildProgress) tail() string {
	const most = 20
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.rest[max(0, len(b.rest)-most):]
	if len(lines) == 0 {
		return ""
	}
	return "\n  " + strings.Join(lines, "\n  ")
}
