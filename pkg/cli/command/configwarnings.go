package command

import "github.com/nodecleanup/kubectl-nodecleanup/pkg/config"

// SayWarnings prints the warnings about a config. The config may be nil.
func (e *Environment) SayWarnings(settings *config.Config) {
	if settings == nil {
		return
	}
	for _, warning := range settings.Warnings {
		e.Say("WARNING: the config is valid, but probably not as intended: %s", warning.Error())
	}
}
