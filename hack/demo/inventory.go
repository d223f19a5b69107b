package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// The inventory is a system that wants to know which nodes leave. It is a
// process of its own so that it still answers when the demo is over.
func (d *demo) inventoryCommand(address string) cluster.Command {
	return cluster.Command{
		Name:  "inventory",
		Path:  filepath.Join(d.bin, "demo"),
		Args:  []string{"inventory", address},
		Ready: cluster.Ready{URL: "http://" + address},
	}
}

// serveInventory notes the key of each Node that it is notified of.
func serveInventory(ctx context.Context, address string) error {
	server := &http.Server{Addr: address, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(
		func(_ http.ResponseWriter, request *http.Request) {
			if request.Method == http.MethodPost {
				fmt.Println(request.Header.Get("Idempotency-Key"))
			}
		})}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return fmt.Errorf("serving the inventory: %w", err)
	}
	return nil
}

// heardBy counts how often the inventory was notified of a key.
func heardBy(inventory *cluster.Process, key string) (int, error) {
	log, err := os.ReadFile(inventory.Log())
	if err != nil {
		return 0, fmt.Errorf("reading what the inventory received: %w", err)
	}
	return strings.Count(string(log), key+"\n"), nil
}
