package follow

import (
	"sync"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
)

// Each follows the cleanups of several nodes at the same time, and returns those for which wait
// succeeded. If a wait ends before its cleanup, resume returns the next step: for one node as part
// of its error, for several as one line about all whose waits ended so.
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
