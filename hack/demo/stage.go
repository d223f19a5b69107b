package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// stage is the cluster that the demo plays on.
type stage struct {
	kubeconfig string
	rest       *rest.Config
	// local is the cluster that the demo started; nil when it is the user's own.
	local *cluster.Cluster
}

func localDir() (string, error) {
	cache, err := cluster.CacheDir()
	return filepath.Join(cache, "clusters", "demo"), err
}

// chooseStage takes the user's cluster when the environment names one and they
// agree, or else starts a local one in the place of an earlier demo's.
func chooseStage(ctx context.Context) (*stage, error) {
	dir, err := localDir()
	if err != nil {
		return nil, err
	}
	for _, variable := range []string{"DEMO_KUBECONFIG", "KUBECONFIG"} {
		if path := os.Getenv(variable); path != "" && !strings.HasPrefix(path, dir) {
			return existing(variable, path)
		}
	}
	return local(ctx, dir)
}

func existing(variable, path string) (*stage, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("reading %s=%s: %w", variable, path, err)
	}
	say("%s points at the cluster %s.", variable, config.Host)
	fmt.Print("The demo would install nodecleanup there, add three fake nodes, delete one, and take everything away again.\nUse that cluster? [y/N] ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.ToLower(strings.TrimSpace(answer)) != "y" {
		return nil, fmt.Errorf("declined; unset %s for a local cluster: env -u %s make demo", variable, variable)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	config.QPS = -1
	return &stage{kubeconfig: path, rest: config}, nil
}

func local(ctx context.Context, dir string) (*stage, error) {
	if err := down(ctx); err != nil {
		return nil, err
	}
	made, err := cluster.New(ctx, cluster.Options{
		Name: "demo", Dir: dir, Detached: true, Output: os.Stdout,
		WithControllerManager: true, WithScheduler: true, WithKwok: true,
	})
	if err != nil {
		return nil, err
	}
	return &stage{kubeconfig: made.Kubeconfig(), rest: made.RESTConfig(), local: made}, nil
}

// down ends the local cluster and everything of it. It is no error when there is none.
func down(ctx context.Context) error {
	dir, err := localDir()
	if err != nil {
		return err
	}
	found, err := cluster.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = found.Stop(ctx)
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("ending the demo's cluster: %w", err)
	}
	say("The demo's cluster is ended.")
	return nil
}
