package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	// localName is the name of the demo's cluster. hack/cluster reserves it.
	localName = "demo"
	onLocal   = "env -u DEMO_KUBECONFIG -u KUBECONFIG make demo"
)

// target is the cluster of the demo.
type target struct {
	kubeconfig string
	rest       *rest.Config
	// local is the cluster that the demo started, nil for the user's own cluster.
	local *cluster.Cluster
	// list and context are the value of KUBECONFIG and the context of the user's own cluster.
	list, context string
	// folder holds the config and, for the user's own cluster, the kubeconfig and the logs.
	folder string
}

// chooseTarget returns the user's cluster if the environment names one and the user agrees. Otherwise, it
// starts a local cluster, which replaces that of an earlier demo.
func chooseTarget(ctx context.Context) (*target, error) {
	dir, err := cluster.DirOf(localName)
	if err != nil {
		return nil, err
	}
	for _, variable := range []string{"DEMO_KUBECONFIG", "KUBECONFIG"} {
		if list := os.Getenv(variable); list != "" && !allWithin(dir, list) {
			return existing(ctx, variable, list)
		}
	}
	return local(ctx)
}

// allWithin reports whether each file of the list is in a directory. The kubeconfig of the demo's own
// cluster is.
func allWithin(dir, list string) bool {
	for _, path := range filepath.SplitList(list) {
		full, err := filepath.Abs(path)
		if err != nil {
			return false
		}
		if relative, err := filepath.Rel(dir, full); err != nil || !filepath.IsLocal(relative) {
			return false
		}
	}
	return true
}

// existing asks the user whether to use their cluster. It refuses a cluster with an install.
func existing(ctx context.Context, variable, list string) (*target, error) {
	raw, err := (&clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(list)}).Load()
	if err != nil {
		return nil, fmt.Errorf("reading %s=%s: %w", variable, list, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*raw, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading %s=%s: %w", variable, list, err)
	}
	config.QPS = -1
	say("%s points at the cluster %s.", variable, config.Host)
	if err := refuseInstalled(ctx, config); err != nil {
		return nil, err
	}
	fmt.Print("The demo would install nodecleanup there for its own nodes alone, add three fake nodes, delete one, and remove everything that it created.\nUse that cluster? [y/N] ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.ToLower(strings.TrimSpace(answer)) != "y" {
		return nil, fmt.Errorf("declined; for a local cluster: %s", onLocal)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	folder, err := os.MkdirTemp("", "nodecleanup-demo-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the demo: %w", err)
	}
	chosen := &target{kubeconfig: filepath.Join(folder, "kubeconfig"), rest: config, list: list, context: raw.CurrentContext, folder: folder}
	return chosen, pin(raw, chosen.kubeconfig)
}

// pin writes only the current context into a file, so that the demo continues on this cluster if the user
// switches to another context.
func pin(raw *clientcmdapi.Config, file string) error {
	if err := clientcmdapi.MinifyConfig(raw); err != nil {
		return fmt.Errorf("reading the current context: %w", err)
	}
	if err := clientcmd.WriteToFile(*raw, file); err != nil {
		return fmt.Errorf("writing the demo's kubeconfig: %w", err)
	}
	return nil
}

func local(ctx context.Context) (*target, error) {
	started, err := cluster.Replace(ctx, cluster.Options{
		Name: localName, Output: os.Stdout,
		WithControllerManager: true, WithScheduler: true, WithKwok: true,
	})
	if err != nil {
		return nil, err
	}
	return &target{kubeconfig: started.Kubeconfig(), rest: started.RESTConfig(), local: started, folder: started.Dir()}, nil
}

// down stops and removes the local cluster, if there is one.
func down(ctx context.Context) error {
	found, err := cluster.Down(ctx, localName)
	if err != nil {
		return fmt.Errorf("ending the demo's cluster: %w", err)
	}
	if found {
		say("The demo's cluster is ended.")
	}
	return nil
}
