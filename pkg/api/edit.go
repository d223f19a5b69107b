package api

import "regexp"

// aboutStatus finds the path of a field of the status in the API server's text.
var aboutStatus = regexp.MustCompile(`(^|[ \[])status\.`)

// EditCommand returns the command by which an operator can fix a Node whose every update the API
// server rejects with the given error. An edit of the Node itself leaves its status as it was.
func EditCommand(node string, err error) string {
	if aboutStatus.MatchString(err.Error()) {
		return "kubectl edit node " + node + " --subresource=status"
	}
	return "kubectl edit node " + node
}
