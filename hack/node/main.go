// Command node is the node of a local Kubernetes for tests that need a real one: kubelet and kube-proxy in
// one program. containerd is in the same go.mod, as separate programs.
//
//	node kubelet|kube-proxy [FLAGS]
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/component-base/cli"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	// Each component parses os.Args and believes that it is the whole program.
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "kubelet":
		os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
	case "kube-proxy":
		os.Exit(cli.Run(proxy.NewProxyCommand()))
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: node kubelet|kube-proxy [FLAGS]")
	os.Exit(2)
}
