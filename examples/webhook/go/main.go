// The program inventory is a cleanup step as a service in Go: it removes the records of a Node from an
// inventory, one per request.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// recordsPerNode stands for what an inventory knows about a Node.
const recordsPerNode = 3

// inventory stands for another system. It is lost with the process; a real one is not.
type inventory struct {
	mutex sync.Mutex
	// removed counts the removed records by the UID of the Node.
	removed map[string]int
}

// Cleanup implements webhookplugin.Service. It does a part of the work, and answers soon.
func (i *inventory) Cleanup(_ context.Context, request *webhookplugin.Request) (webhookplugin.Answer, error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	uid := request.Node.UID
	if i.removed[uid] < recordsPerNode {
		i.removed[uid]++
	}
	if i.removed[uid] == recordsPerNode {
		return webhookplugin.Done(map[string]string{"records": fmt.Sprint(recordsPerNode)}), nil
	}
	answer := webhookplugin.InProgress("removing the records of node "+request.Node.Name, 1)
	answer.Progress = &webhookplugin.Progress{Done: i.removed[uid], Total: recordsPerNode}
	return answer, nil
}

// Preview implements webhookplugin.Previewer.
func (i *inventory) Preview(_ context.Context, request *webhookplugin.Request) ([]webhookplugin.Effect, error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	var effects []webhookplugin.Effect
	for record := i.removed[request.Node.UID]; record < recordsPerNode; record++ {
		effects = append(effects, webhookplugin.Effect{
			Action: "Delete", Object: &webhookplugin.Object{Kind: "Record", Name: fmt.Sprintf("%s-%d", request.Node.Name, record+1)},
		})
	}
	return effects, nil
}

// Verify implements webhookplugin.Verifier.
func (i *inventory) Verify(_ context.Context, request *webhookplugin.Request) (string, error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if left := recordsPerNode - i.removed[request.Node.UID]; left > 0 {
		return fmt.Sprintf("%d records remain", left), nil
	}
	return "", nil
}

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

// serve takes its settings from the environment: HMAC_SECRET, HOST, PORT, and CERT and KEY for TLS.
func serve() error {
	secret := os.Getenv("HMAC_SECRET")
	if secret == "" {
		return fmt.Errorf("HMAC_SECRET is not set")
	}
	server := &http.Server{
		Handler:           webhookplugin.Handler(&inventory{removed: map[string]int{}}, webhookplugin.Options{Name: "inventory", HMACSecret: []byte(secret)}),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(cmp.Or(os.Getenv("HOST"), "127.0.0.1"), cmp.Or(os.Getenv("PORT"), "8443")))
	if err != nil {
		return err
	}
	fmt.Println("listening on port", listener.Addr().(*net.TCPAddr).Port)
	if certificate := os.Getenv("CERT"); certificate != "" {
		return server.ServeTLS(listener, certificate, os.Getenv("KEY"))
	}
	return server.Serve(listener)
}
