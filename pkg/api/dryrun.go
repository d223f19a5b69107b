package api

// DryRunWarning returns the warning with which the agent's webhook of that name answers every
// dry run that it allows. A client sees nothing else of a webhook with failurePolicy Ignore:
// without the warning, the API server did not get an answer from it.
func DryRunWarning(hook string) string {
	return "nodecleanup: webhook " + hook + " answered this dry run"
}
