// Command nodecleanup-agent is the part of nodecleanup that runs in the cluster.
package main

import (
	"github.com/nodecleanup/kubectl-nodecleanup/agent/program"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

func main() { program.Main(plugins.Catalog) }
