package api

import "regexp"

// aboutStatus finds the path of a field of the status in the API server's text.
var aboutStatus = regexp.MustCompile(`(^|[ \[])status\.`)

// EditCommand returns the command by which an operator can fix a Node if the API server rejects
// every update of it with the given error. An edit of the Node itself does not change its status.
func EditCommand(node string, err error) string {
	if aboutStatus.MatchString(err.Error()) {
		return "kubectl edit node " + node + " --subresource=status"
	}
	return "kubectl edit node " + node
}
