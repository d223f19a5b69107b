package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

// refuseInstalled returns an error when there is anything of an install on the
// cluster, in whatever namespace and by whatever means: the demo would change its
// config, and at the end take it off every node.
func refuseInstalled(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	namespaces, err := command.FindNamespaces(ctx, client)
	if err != nil {
		return err
	}
	if len(namespaces) == 0 {
		namespaces = []string{api.Namespace}
	}
	// This is what an uninstall would find, and unlike the search for the namespace
	// it fails where it may not look.
	remover := &install.Remover{Objects: objects, Nodes: client, Now: time.Now}
	for _, namespace := range namespaces {
		survey, err := remover.Survey(ctx, namespace, false)
		if err != nil {
			return fmt.Errorf("looking whether nodecleanup is installed on that cluster: %w", err)
		}
		if !survey.Empty() {
			return fmt.Errorf(`nodecleanup is on that cluster already: %d objects, namespace %s; nodes with its marks: %d.
The demo would change its config, and at the end take it off every node. Nothing was touched. Do one of these:
  play on a local cluster:                    %s
  if nobody needs what is there, remove it:   see docs/install.md, then make demo again`,
				len(survey.Objects), namespace, survey.Marked, onLocal)
		}
	}
	return nil
}
