// Package admission answers the admission reviews of the API server: it adds the finalizer to a
// Node that is created, and asks the guard whether a Node may be deleted.
package admission

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// MaxBody is the maximum size of a request, in bytes. The API server accepts no larger
// object.
const MaxBody = 3 << 20

const contentType = "application/json"

// Metrics counts the requests to the webhooks.
type Metrics interface {
	// WebhookRequest is called for each request. The result of a CREATE is "patched" or "unchanged". That
	// of a DELETE is "allowed", "refused" or "error". It is "error" if the guard could not read what it
	// needs, or denied the deletion with HTTP 429. A malformed request has the result "refused" and no
	// operation.
	WebhookRequest(operation, result string, took time.Duration)
}

// Handler returns the handler of the mutating webhook. Selector returns the selector of the
// protected Nodes.
func Handler(selector func() labels.Selector, metrics Metrics, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		began := time.Now()
		asked, err := read(writer, request, decodeCreation)
		if err == nil {
			err = checkCreation(asked)
		}
		if err != nil {
			refuseRequest(writer, request, err, time.Since(began), metrics, log)
			return
		}
		result, response := answerCreation(asked.Request, selector())
		writeAnswer(writer, request, response, log)
		metrics.WebhookRequest(string(asked.Request.Operation), result, time.Since(began))
	})
}

// refuseRequest answers a request that is not a review for the webhook.
func refuseRequest(writer http.ResponseWriter, request *http.Request, err error, took time.Duration, metrics Metrics, log *slog.Logger) {
	metrics.WebhookRequest("", "refused", took)
	log.Warn("refusing an admission request", "from", request.RemoteAddr, "err", err)
	http.Error(writer, "nodecleanup-agent: "+err.Error(), status(err))
}

func writeAnswer(writer http.ResponseWriter, request *http.Request, response *admissionv1.AdmissionResponse, log *slog.Logger) {
	writer.Header().Set("Content-Type", contentType)
	if err := json.NewEncoder(writer).Encode(&admissionv1.AdmissionReview{TypeMeta: reviewType, Response: response}); err != nil {
		log.Warn("answering an admission request", "from", request.RemoteAddr, "err", err)
	}
}

// httpError is an error with the HTTP status of its answer.
type httpError struct {
	status int
	error
}

func refuse(status int, format string, arguments ...any) error {
	return httpError{status, fmt.Errorf(format, arguments...)}
}

func status(err error) int {
	var known httpError
	if errors.As(err, &known) {
		return known.status
	}
	return http.StatusBadRequest
}

// read returns the review in a request, or what is wrong with it.
func read(writer http.ResponseWriter, request *http.Request, decode func([]byte) (*review, error)) (*review, error) {
	if request.Method != http.MethodPost {
		return nil, refuse(http.StatusMethodNotAllowed, "method %s is not allowed; use POST", request.Method)
	}
	if content := request.Header.Get("Content-Type"); content != contentType {
		if media, _, err := mime.ParseMediaType(content); err != nil || media != contentType {
			return nil, refuse(http.StatusUnsupportedMediaType, "unsupported content type %q; use %s", content, contentType)
		}
	}
	buffer := buffers.Get().(*bytes.Buffer)
	defer func() {
		if buffer.Cap() <= keptBuffer {
			buffers.Put(buffer)
		}
	}()
	buffer.Reset()
	if size := request.ContentLength; size > 0 && size <= MaxBody {
		buffer.Grow(int(size) + bytes.MinRead) // To grow during the read would take twice the memory.
	}
	_, err := buffer.ReadFrom(http.MaxBytesReader(writer, request.Body, MaxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, refuse(http.StatusRequestEntityTooLarge, "the request is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	review, err := decode(buffer.Bytes())
	if err != nil {
		return nil, fmt.Errorf("decoding the request: %w", err)
	}
	return review, nil
}

// buffers hold requests while they are read. A large buffer is not used again.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const keptBuffer = 128 << 10 // bytes

var (
	reviewType = metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"}
	nodes      = metav1.GroupVersionResource{Version: "v1", Resource: "nodes"}
	nodeKind   = metav1.GroupVersionKind{Version: "v1", Kind: "Node"}
)

// check refuses everything but that operation on a Node.
func check(review *review, operation admissionv1.Operation) error {
	if review.TypeMeta != reviewType {
		return fmt.Errorf("the request is a %s %s, not a %s %s", review.APIVersion, review.Kind, reviewType.APIVersion, reviewType.Kind)
	}
	request := review.Request
	switch {
	case request == nil:
		return errors.New("the AdmissionReview has no request")
	case request.UID == "":
		return errors.New("the request has no uid")
	case request.Resource != nodes || request.SubResource != "":
		return fmt.Errorf("unsupported resource %s %s; this webhook handles nodes", request.Resource, request.SubResource)
	case request.Kind != nodeKind:
		return fmt.Errorf("unsupported kind %q of %q; this webhook handles a Node of v1", request.Kind.Kind, schema.GroupVersion{Group: request.Kind.Group, Version: request.Kind.Version})
	case request.Operation != operation:
		return fmt.Errorf("unsupported operation %s; this webhook handles %s", request.Operation, operation)
	}
	return nil
}

// checkCreation refuses everything but the creation of a Node.
func checkCreation(review *review) error {
	if err := check(review, admissionv1.Create); err != nil {
		return err
	}
	if review.Request.Object.Metadata == nil {
		return errors.New("the request has no node with metadata")
	}
	return nil
}
