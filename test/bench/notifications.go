package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/bench/internal/measure"
)

// measureNotifications compares the agent's rate with broken receivers of notifications with its rate without
// notifications, in rounds that take turns.
func measureNotifications(ctx context.Context, o options) (measure.Bar, error) {
	if o.rounds < 1 {
		o.rounds = max(3, 5000/o.sizes[0])
	}
	b, stop, err := setUp(ctx, o, o.sizes[0])
	if err != nil {
		return measure.Bar{}, err
	}
	var tries atomic.Int64
	without, with, err := b.withAndWithout(ctx, &tries)
	if err = stop(err); err != nil {
		return measure.Bar{}, err
	}
	if tries.Load() == 0 {
		return measure.Bar{}, fmt.Errorf("the receivers got no request")
	}
	fmt.Printf("%d nodes, %d rounds each: %.0f nodes/s without notifications, %.0f nodes/s with broken receivers, which got %d requests\n",
		b.nodes, b.rounds, b.rate(without), b.rate(with), tries.Load())
	return measure.Bar{Name: "rate with broken receivers, in parts of the rate without", Got: b.rate(with) / b.rate(without), Want: minNotified, Min: true}, nil
}

func (b *bench) withAndWithout(ctx context.Context, tries *atomic.Int64) (without, with []*deletions, err error) {
	notifications := "notifications:\n"
	for name, answer := range map[string]http.HandlerFunc{
		"hangs":   func(_ http.ResponseWriter, request *http.Request) { <-request.Context().Done() },
		"limits":  func(writer http.ResponseWriter, _ *http.Request) { writer.WriteHeader(http.StatusTooManyRequests) },
		"refuses": func(writer http.ResponseWriter, _ *http.Request) { writer.WriteHeader(http.StatusInternalServerError) },
	} {
		server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
			tries.Add(1)
			if _, err := io.Copy(io.Discard, request.Body); err != nil { // Else a request that hangs does not end with its connection.
				return
			}
			answer(writer, request)
		}))
		defer server.Close()
		defer server.CloseClientConnections() // Before Close, which waits for the requests that hang.
		notifications += fmt.Sprintf("- {name: %s, plugin: http, events: [Started, Succeeded, Failed], groupWait: 100ms, options: {url: %q}}\n", name, server.URL)
	}
	for b.round = range 2 * b.rounds {
		further := ""
		if b.round%2 == 1 {
			further = notifications
		}
		if err := b.setConfig(ctx, b.config(further)); err != nil {
			return nil, nil, err
		}
		if err := b.agentRound(ctx); err != nil {
			return nil, nil, err
		}
		last := b.agents[len(b.agents)-1]
		if further == "" {
			without = append(without, last)
		} else {
			with = append(with, last)
		}
	}
	return without, with, nil
}

// setConfig replaces the config of an agent that is not running.
func (b *bench) setConfig(ctx context.Context, text []byte) error {
	configMaps := b.client.CoreV1().ConfigMaps(api.Namespace)
	configMap, err := configMaps.Get(ctx, api.ConfigName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	configMap.Data[api.ConfigKey] = string(text)
	_, err = configMaps.Update(ctx, configMap, metav1.UpdateOptions{})
	return err
}
