package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// KwokCommand returns the command of a kwok that plays the kubelets of MakeNode's nodes on any
// cluster, including clusters that this package did not start. It builds its dependencies, keeps
// its file in dir, and serves its health at a host:port.
func KwokCommand(ctx context.Context, dir, kubeconfig, serve string, out io.Writer) (Command, error) {
	binary, err := Build(ctx, out)
	if err != nil {
		return Command{}, err
	}
	stages := filepath.Join(dir, "kwok-stages.yaml")
	if err := writeKwokStages(ctx, binary, stages); err != nil {
		return Command{}, err
	}
	return Command{
		Name: Kwok, Path: binary, Args: append([]string{Kwok}, kwokFlags(kubeconfig, stages, serve)...), Dir: dir,
		Ready: Ready{URL: "http://" + serve + "/readyz"},
	}, nil
}

// kwokFlags returns kwok's flags. They disable leases, so heartbeats are in the Node's status. With leases,
// kwok never handles a Pod if it has created the node's lease but not observed it yet. After a restart, it
// would ignore the nodes until its old leases have expired.
func kwokFlags(kubeconfig, stages, serve string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--config=" + stages,
		"--manage-all-nodes=false",
		"--manage-nodes-with-annotation-selector=" + fakeNodeAnnotation + "=" + fakeNodeValue,
		"--node-lease-duration-seconds=0",
		"--server-address=" + serve,
	}
}

// writeKwokStages writes the lifecycle of nodes and pods, without which kwok exits.
func writeKwokStages(ctx context.Context, binary, path string) error {
	stages, err := exec.CommandContext(ctx, binary, "kwok-stages").Output()
	if err != nil {
		return fmt.Errorf("reading the stages of kwok: %w", err)
	}
	return os.WriteFile(path, stages, 0o644)
}
