//go:build linux

// Package e2e_test runs the agent as users do: as a Pod on a real node, with the
// image, the rights, the Service and the namespace that install gives it.
package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/node"
)

const (
	// asked has to be set: the test changes this machine's network while it runs.
	asked    = "NODECLEANUP_E2E"
	patience = 2 * time.Minute

	repository = "localhost/nodecleanup-agent"
	oldVersion = "v0.0.1-e2e"
	newVersion = "v0.0.2-e2e"
)

var (
	shared *cluster.Cluster
	real   *node.Node
	client kubernetes.Interface
)

func TestMain(m *testing.M) {
	if os.Getenv(asked) == "" {
		fmt.Println("skipped: the end-to-end tests run as root and by `make e2e` only")
		return
	}
	if err := node.Unfit(); err != nil {
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
	root, err := filepath.Abs("../..")
	if err != nil {
		return 1, err
	}
	client = kubernetes.NewForConfigOrDie(shared.RESTConfig())
	if real, err = node.Start(ctx, shared, root, os.Stdout); err != nil {
		return 1, err
	}
	defer func() {
		if stopErr := real.Stop(ctx); err == nil {
			err = stopErr
		}
	}()
	for _, version := range []string{oldVersion, newVersion} {
		image := node.Image{Module: root, Package: "./cmd/nodecleanup-agent", Repository: repository, Version: version}
		if err := real.Load(ctx, root, image); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}

// run runs a command as an administrator and wants an exit code.
func run(t *testing.T, code int, arguments ...string) string {
	t.Helper()
	var out bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
	err := cli.Execute(t.Context(), streams, append(arguments, "--kubeconfig", shared.Kubeconfig()))
	got := exit.Code(t.Context(), err)
	t.Logf("kubectl nodecleanup %s [exit %d]\n%s", strings.Join(arguments, " "), got, out.String())
	if got != code {
		t.Fatalf("exit code %d, want %d", got, code)
	}
	return out.String()
}

func eventually(t *testing.T, what string, holds func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, patience, true, holds); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}
