package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

var (
	webhookResource = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"}
	policyResource  = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingadmissionpolicybindings"}
)

func deleteIfThere(ctx context.Context, of dynamic.ResourceInterface) error {
	err := of.Delete(ctx, api.WebhookName, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// process is an agent in another process.
type process struct {
	*cluster.Process
	webhook string
	folder  string
}

// buildAgent builds the agent of this source tree, and returns its path and a function that
// removes it.
func buildAgent(ctx context.Context) (path string, remove func(), err error) {
	folder, err := os.MkdirTemp("", "bench-admission-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { removeAll(folder) }
	path = filepath.Join(folder, api.Agent)
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", path, "github.com/nodecleanup/kubectl-nodecleanup/cmd/nodecleanup-agent")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		remove()
		return "", nil, fmt.Errorf("building the agent: %w", err)
	}
	return path, remove, nil
}

// startAgent installs the manifests of this source tree, and starts an agent for them.
func startAgent(ctx context.Context, c *cluster.Cluster, binary string) (*process, error) {
	webhook, err := freeAddress()
	if err != nil {
		return nil, err
	}
	probes, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if _, err := (install.Applier{Objects: dynamic.NewForConfigOrDie(c.RESTConfig())}).Apply(ctx, install.Options{
		AgentURL: "https://" + webhook, Admission: install.AdmissionWebhook,
	}); err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "bench-admission-")
	if err != nil {
		return nil, err
	}
	agent := cluster.NewProcess(cluster.Command{
		Name: api.Agent, Path: binary,
		Args:  []string{"--kubeconfig=" + c.Kubeconfig(), "--namespace=" + api.Namespace, "--identity=bench", "--webhook-listen=" + webhook, "--probe-listen=" + probes},
		Ready: cluster.Ready{URL: "http://" + probes + "/readyz"},
	}, folder)
	return &process{agent, webhook, folder}, agent.Start(ctx) // The log stays where the agent does not start.
}

// Stop ends it, and removes its log.
func (p *process) Stop(ctx context.Context) {
	if err := p.Process.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the agent:", err)
	}
	removeAll(p.folder)
}

func removeAll(folder string) {
	if err := os.RemoveAll(folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
