//go:build linux

// Package e2e_test runs the agent as users do: as a Pod on a real node, with the
// image, the rights, the Service and the namespace that install gives it.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/node"
)

const (
	// asked must be set, because the test changes this machine's network while it runs.
	asked       = "NODECLEANUP_E2E"
	testTimeout = 2 * time.Minute

	repository    = "localhost/nodecleanup-agent"
	cliRepository = "localhost/kubectl-nodecleanup"
	oldVersion    = "v0.0.1-e2e"
	newVersion    = "v0.0.2-e2e"
)

var (
	shared *cluster.Cluster
	real   *node.Node
	client kubernetes.Interface
	// root is the folder of this repository.
	root string
)

func TestMain(m *testing.M) {
	if os.Getenv(asked) == "" {
		fmt.Println("skipped: the end-to-end tests run as root and by `make e2e` only")
		return
	}
	if err := node.CheckRequirements(); err != nil {
		fmt.Println("skipped:", err)
		return
	}
	flags, err := node.APIServerFlags()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	options := cluster.Options{Name: "e2e", WithControllerManager: true, WithScheduler: true, WithKwok: true, APIServerFlags: flags, Output: os.Stdout}
	var stop error
	code := cluster.Main(mainFunc(func() int {
		var code int
		code, stop = withNode(m)
		return code
	}), options, func(c *cluster.Cluster) { shared = c })
	if stop != nil {
		fmt.Println(stop)
		code = 1
	}
	os.Exit(code)
}

type mainFunc func() int

func (f mainFunc) Run() int { return f() }

// withNode runs the tests on a node that has the agent's images.
func withNode(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if root, err = filepath.Abs("../.."); err != nil {
		return 1, err
	}
	client = kubernetes.NewForConfigOrDie(shared.RESTConfig())
	if real, err = node.Start(ctx, shared, root, os.Stdout); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, real.Stop(ctx)) }()
	var stop func() error
	if previous, stop, err = checkOutPrevious(ctx); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if helmProgram, err = cluster.Helm(ctx, os.Stdout); err != nil {
		return 1, err
	}
	for version, sources := range map[string]string{oldVersion: previous, newVersion: root} {
		for repository, program := range map[string]string{repository: "./cmd/nodecleanup-agent", cliRepository: "./cmd/kubectl-nodecleanup"} {
			image := node.Image{Module: sources, Package: program, Repository: repository, Version: version}
			if err := real.Load(ctx, root, image); err != nil {
				return 1, err
			}
		}
	}
	return m.Run(), nil
}
