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
	// localName is the name of the demo's cluster; hack/cluster gives it to no other.
	localName = "demo"
	onLocal   = "env -u DEMO_KUBECONFIG -u KUBECONFIG make demo"
)

// stage is the cluster that the demo plays on.
type stage struct {
	kubeconfig string
	rest       *rest.Config
	// local is the cluster that the demo started; nil when it is the user's own.
	local *cluster.Cluster
	// list and context are how the user reaches their own cluster.
	list, context string
	// folder holds the config, and where the cluster is the user's own the
	// kubeconfig and the logs.
	folder string
}

// chooseStage takes the user's cluster when the environment names one and they
// agree, or else starts a local one in the place of an earlier demo's.
func chooseStage(ctx context.Context) (*stage, error) {
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

// allWithin tells whether each file of the list is below a directory, as the
// kubeconfig is that the demo tells its user to take.
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

// existing asks whether to play on the user's cluster. It refuses one that has an
// install before it asks.
func existing(ctx context.Context, variable, list string) (*stage, error) {
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
	fmt.Print("The demo would install nodecleanup there for its own nodes alone, add three fake nodes, delete one, and take everything away again.\nUse that cluster? [y/N] ")
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
	chosen := &stage{kubeconfig: filepath.Join(folder, "kubeconfig"), rest: config, list: list, context: raw.CurrentContext, folder: folder}
	return chosen, pin(raw, chosen.kubeconfig)
}

// pin writes the current context alone into a file: the demo plays to its end on the
// cluster that was agreed to, although the user switches to another context.
func pin(raw *clientcmdapi.Config, file string) error {
	if err := clientcmdapi.MinifyConfig(raw); err != nil {
		return fmt.Errorf("reading the current context: %w", err)
	}
	if err := clientcmd.WriteToFile(*raw, file); err != nil {
		return fmt.Errorf("writing the demo's kubeconfig: %w", err)
	}
	return nil
}

func local(ctx context.Context) (*stage, error) {
	started, err := cluster.Replace(ctx, cluster.Options{
		Name: localName, Output: os.Stdout,
		WithControllerManager: true, WithScheduler: true, WithKwok: true,
	})
	if err != nil {
		return nil, err
	}
	return &stage{kubeconfig: started.Kubeconfig(), rest: started.RESTConfig(), local: started, folder: started.Dir()}, nil
}

// down ends the local cluster and everything of it. It is no error when there is none.
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
