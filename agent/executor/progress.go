package executor

import (
	"maps"
	"sync"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// latest holds the newest that each step said about its progress and that its run has not
// noted yet: plugins say it, from any goroutine and as often as they like.
type latest struct {
	mutex sync.Mutex
	said  map[string]said
	// news is told when there is something to take.
	news chan struct{}
}

// said is what a step said about its progress. What is nil was not said.
type said struct {
	text   *string
	counts *api.Counts
}

func newLatest() *latest { return &latest{said: map[string]said{}, news: make(chan struct{}, 1)} }

// say replaces what the step said before.
func (l *latest) say(step, text string) {
	l.change(step, func(s *said) { s.text = &text })
}

// count replaces what the step counted before.
func (l *latest) count(step string, counts api.Counts) {
	l.change(step, func(s *said) { s.counts = &counts })
}

func (l *latest) change(step string, change func(*said)) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	now := l.said[step]
	change(&now)
	l.said[step] = now
	select {
	case l.news <- struct{}{}:
	default: // It is told already.
	}
}

// take returns what was said since, by step.
func (l *latest) take() map[string]said {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	taken := maps.Clone(l.said)
	clear(l.said)
	return taken
}
