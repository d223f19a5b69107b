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

// process is an agent of its own process.
type process struct {
	*cluster.Process
	webhook string
	folder  string
}

// startAgent installs and builds the agent, and starts it.
func startAgent(ctx context.Context, c *cluster.Cluster) (*process, error) {
	folder, err := os.MkdirTemp("", "bench-admission-")
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(folder, api.Agent)
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", binary, "./cmd/nodecleanup-agent")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("building the agent: %w", err)
	}
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
	agent := cluster.NewProcess(cluster.Command{
		Name: api.Agent, Path: binary,
		Args:  []string{"--kubeconfig=" + c.Kubeconfig(), "--namespace=" + api.Namespace, "--identity=bench", "--webhook-listen=" + webhook, "--probe-listen=" + probes},
		Ready: cluster.Ready{URL: "http://" + probes + "/readyz"},
	}, folder)
	return &process{agent, webhook, folder}, agent.Start(ctx)
}

// Stop ends it, and removes what it was built of.
func (p *process) Stop(ctx context.Context) {
	if err := p.Process.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the agent:", err)
	}
	if err := os.RemoveAll(p.folder); err != nil {
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
