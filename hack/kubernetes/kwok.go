package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	nodeheartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/config"
	"sigs.k8s.io/kwok/pkg/kwok/cmd"
	"sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/signals"
)

// runKwok is cmd/kwok of kwok, which is not a package that could be imported.
func runKwok() int {
	flags := pflag.NewFlagSet("global", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	ctx, _ := log.InitFlags(signals.SetupSignalContext(), flags)
	ctx, err := config.InitFlags(ctx, flags)
	if err != nil {
		fmt.Fprintln(os.Stderr, "reading kwok's configuration:", err)
		return 1
	}
	command := cmd.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(flags)
	// cobra wants --version to be a bool then, and Kubernetes, in the same program, has made it something else.
	command.Version = ""
	if err := command.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "running kwok:", err)
		return 1
	}
	return 0
}

// printKwokStages writes the stages of fake nodes and pods that kwok wants in its --config file: without any it
// exits at once.
func printKwokStages() int {
	stages := []string{
		nodefast.DefaultNodeInit, nodeheartbeat.DefaultNodeHeartbeat,
		podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete,
	}
	if _, err := fmt.Println(strings.Join(stages, "\n---\n")); err != nil {
		fmt.Fprintln(os.Stderr, "writing the stages:", err)
		return 1
	}
	return 0
}
