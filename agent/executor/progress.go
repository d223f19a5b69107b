package executor

import (
	"maps"
	"sync"
)

// latest holds the newest that each step said about its progress and that its run has not
// noted yet: plugins say it, from any goroutine and as often as they like.
type latest struct {
	mutex sync.Mutex
	texts map[string]string
	// news is told when there is something to take.
	news chan struct{}
}

func newLatest() *latest { return &latest{texts: map[string]string{}, news: make(chan struct{}, 1)} }

// say replaces what the step said before.
func (l *latest) say(step, text string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.texts[step] = text
	select {
	case l.news <- struct{}{}:
	default: // It is told already.
	}
}

// take returns what was said since, by step.
func (l *latest) take() map[string]string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	texts := maps.Clone(l.texts)
	clear(l.texts)
	return texts
}
