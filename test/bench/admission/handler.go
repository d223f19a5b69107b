package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/admission"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/httplimit"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	// callers is the number of concurrent callers, each with its own connection, like API servers.
	callers = 16
	images  = 40
	// sampleTime is short, so that other load of the machine affects both handlers equally.
	sampleTime = 250 * time.Millisecond
	samples    = 16 // per round
	// leastRatio is the minimum throughput, relative to a constant response. It only detects a
	// decoder that is far too slow: the time to create a Node is what matters.
	leastRatio = 0.4
)

// review is the request that the API server sends when a kubelet registers its Node.
func review() ([]byte, error) {
	node := cluster.MakeCloudNode("ip-10-0-17-4.eu-central-1.compute.internal", images)
	node.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}
	raw, err := json.Marshal(node)
	if err != nil {
		return nil, err
	}
	nodes := metav1.GroupVersionResource{Version: "v1", Resource: "nodes"}
	kind := metav1.GroupVersionKind{Version: "v1", Kind: "Node"}
	return json.Marshal(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "705ab4f5-6393-11e8-b7cc-42010a800002", Kind: kind, Resource: nodes, RequestKind: &kind, RequestResource: &nodes,
			Name: node.Name, Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: raw},
		},
	})
}

// measureHandler sends requests over HTTPS to our handler and to one that reads the request and returns
// a constant response.
func measureHandler(ctx context.Context, o options) error {
	body, err := review()
	if err != nil {
		return err
	}
	meters := metrics.New()
	ours := httplimit.Bodies(admission.MaxBody, func(*http.Request, string) {}, admission.Handler(labels.Everything, meters, slog.New(slog.DiscardHandler)))
	constant := http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			http.Error(writer, err.Error(), http.StatusBadRequest)
			return
		}
		writer.Header().Set("Content-Type", "application/json")
		_, _ = writer.Write([]byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002","allowed":true}}`))
	})
	baseline, subject := serve(constant), serve(ours)
	defer baseline.stop()
	defer subject.stop()
	var baselineTotal, subjectTotal int64
	var ratios []float64
	for range o.rounds * samples {
		want, err := baseline.load(ctx, body)
		if err != nil {
			return err
		}
		got, err := subject.load(ctx, body)
		if err != nil {
			return err
		}
		baselineTotal, subjectTotal, ratios = baselineTotal+want, subjectTotal+got, append(ratios, float64(got)/float64(want))
	}
	slices.Sort(ratios)
	seconds := float64(len(ratios)) * sampleTime.Seconds()
	fmt.Printf("\nrequests of %d KiB per second, %d callers: constant handler %.0f, ours %.0f: ratio %.2f (median of %d samples)\n",
		len(body)>>10, callers, float64(baselineTotal)/seconds, float64(subjectTotal)/seconds, ratios[len(ratios)/2], len(ratios))
	if median := ratios[len(ratios)/2]; median < leastRatio {
		return fmt.Errorf("throughput of the handler is %.3f of the constant handler's; the minimum is %.1f", median, leastRatio)
	}
	return nil
}

// server is a handler behind HTTPS, with the connections of its callers.
type server struct {
	*httptest.Server
	transport *http.Transport
}

func serve(handler http.Handler) server {
	s := server{Server: httptest.NewUnstartedServer(handler)}
	s.StartTLS()
	s.transport = s.Client().Transport.(*http.Transport).Clone()
	s.transport.MaxIdleConnsPerHost = callers
	s.transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{} // HTTP/1.1.
	return s
}

func (s server) stop() {
	s.transport.CloseIdleConnections()
	s.Close()
}

// load sends requests for one sample and returns the number of responses.
func (s server) load(ctx context.Context, body []byte) (int64, error) {
	var responses atomic.Int64
	end := time.Now().Add(sampleTime)
	group, ctx := errgroup.WithContext(ctx)
	for range callers {
		group.Go(func() error {
			for time.Now().Before(end) {
				if err := post(ctx, s.transport, s.URL, body); err != nil {
					return err
				}
				responses.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	return responses.Load(), err
}

func post(ctx context.Context, transport http.RoundTripper, url string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return err
}
