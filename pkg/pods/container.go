package pods

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// NotReady returns the cause why a container is not ready, empty if it is unknown, and whether the
// container ended with an error.
func NotReady(container corev1.ContainerStatus) (why string, crashed bool) {
	if container.Ready {
		return "", false
	}
	ended := container.LastTerminationState.Terminated
	if container.State.Terminated != nil {
		ended = container.State.Terminated
	}
	crashed = ended != nil && ended.ExitCode != 0
	waiting := container.State.Waiting
	switch {
	case waiting != nil && (waiting.Reason == "ContainerCreating" || waiting.Reason == "PodInitializing"):
		return "", false
	case waiting != nil && crashed: // The message of CrashLoopBackOff says only how long it waits.
		return waiting.Reason + ": " + lastWords(ended), true
	case waiting != nil:
		return firstLine(waiting.Reason, waiting.Message), false
	case crashed:
		return fmt.Sprintf("restarted %d times: %s", container.RestartCount, lastWords(ended)), true
	}
	return "", false
}

// lastWords describes how a container ended. Its termination message ends with the last lines of
// its log if terminationMessagePolicy is FallbackToLogsOnError.
func lastWords(ended *corev1.ContainerStateTerminated) string {
	words := fmt.Sprintf("exit code %d", ended.ExitCode)
	if ended.Reason != "" && ended.Reason != "Error" {
		words = ended.Reason + ", " + words
	}
	message := strings.TrimSpace(ended.Message)
	if last := message[strings.LastIndexByte(message, '\n')+1:]; last != "" {
		words += ": " + last
	}
	return words
}
