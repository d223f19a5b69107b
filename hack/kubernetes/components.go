package main

import (
	"maps"
	"os"
	"slices"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// components are the programs in here by name. Each reads os.Args and gives an exit code.
func components() map[string]func() int {
	return map[string]func() int{
		"etcd":                    runEtcd,
		"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
		"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
		"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
		"kwok":                    runKwok,
		"kwok-stages":             printKwokStages,
	}
}

func names(components map[string]func() int) []string {
	return slices.Sorted(maps.Keys(components))
}

// runEtcd serves until a signal comes. etcd exits by itself when it cannot start.
func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}
