// Package cluster holds the reads of a cluster that the installer and the CLI's commands
// share: nodes, run records, the agent's Lease and status, and the API server's time.
package cluster
