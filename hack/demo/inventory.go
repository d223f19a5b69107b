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

// inventoryCommand returns the command of the inventory, which is notified of each deleted node. It is a
// separate process, so that it outlives the demo.
func (d *demo) inventoryCommand(address string) cluster.Command {
	return cluster.Command{
		Name:  "inventory",
		Path:  filepath.Join(d.bin, "demo"),
		Args:  []string{"inventory", address},
		Ready: cluster.Ready{URL: "http://" + address},
	}
}

// serveInventory prints the idempotency key of each notification.
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

// requestsOf returns how often the inventory was notified with a key.
func requestsOf(inventory *cluster.Process, key string) (int, error) {
	log, err := os.ReadFile(inventory.Log())
	if err != nil {
		return 0, fmt.Errorf("reading the log of the inventory: %w", err)
	}
	return strings.Count(string(log), key+"\n"), nil
}
