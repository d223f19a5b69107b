package follow

import (
	"sync"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
)

// Each follows the cleanups of several nodes at the same time, and returns the nodes whose wait
// succeeded. If a wait ends before its cleanup, resume returns the next step. For one node it is
// part of the error, for several it is one line for all unfinished waits.
func Each[T any](results *command.Results, cleanups []T, wait func(T) error, resume func(unfinished []T) string) []T {
	var lock sync.Mutex
	var unfinished []T
	succeeded := command.ForEach(results, cleanups, len(cleanups), func(one T) error {
		err := wait(one)
		if ended := Unfinished(err); ended != nil && ended.Next == "" {
			lock.Lock()
			defer lock.Unlock()
			if unfinished = append(unfinished, one); len(cleanups) == 1 {
				ended.Next = resume(unfinished)
			}
		}
		return err
	})
	if len(unfinished) > 0 && len(cleanups) > 1 {
		results.Say("Next:  %s", resume(unfinished))
	}
	return succeeded
}
