// Package admission answers the API server's questions: whether a Node may be created as
// it is (yes, with our finalizer on it), and whether it may be deleted (the guard knows).
package admission

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// MaxBody is the largest request that is read, in bytes. The API server itself
// accepts no larger object.
const MaxBody = 3 << 20

const contentType = "application/json"

// Metrics counts what the webhook is asked.
type Metrics interface {
	// WebhookRequest is called for each request. The result of a CREATE is "patched" or
	// "unchanged", of a DELETE "allowed", "refused", or "error" where something could not be
	// read; of a request that is no question "refused", with no operation.
	WebhookRequest(operation, result string, took time.Duration)
}

// Handler returns the handler of the mutating webhook. The selector returns
// which Nodes are protected.
func Handler(selector func() labels.Selector, metrics Metrics, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		began := time.Now()
		asked, err := read(writer, request, decode)
		if err == nil {
			err = checkCreation(asked)
		}
		if err != nil {
			refuseRequest(writer, request, err, time.Since(began), metrics, log)
			return
		}
		result, answer := review(asked.Request, selector())
		if err := answer.write(writer, asked.Request.UID); err != nil {
			logUnanswered(request, err, log)
		}
		metrics.WebhookRequest(string(asked.Request.Operation), result, time.Since(began))
	})
}

// refuseRequest answers what is no question for the webhook.
func refuseRequest(writer http.ResponseWriter, request *http.Request, err error, took time.Duration, metrics Metrics, log *slog.Logger) {
	metrics.WebhookRequest("", "refused", took)
	log.Warn("refusing an admission request", "from", request.RemoteAddr, "err", err)
	http.Error(writer, "nodecleanup-agent: "+err.Error(), status(err))
}

func writeAnswer(writer http.ResponseWriter, request *http.Request, response *admissionv1.AdmissionResponse, log *slog.Logger) {
	writer.Header().Set("Content-Type", contentType)
	if err := json.MarshalWrite(writer, answer{reviewType, response}); err != nil {
		logUnanswered(request, err, log)
	}
}

func logUnanswered(request *http.Request, err error, log *slog.Logger) {
	log.Warn("answering an admission request", "from", request.RemoteAddr, "err", err)
}

// answer is an AdmissionReview without what only a question has.
type answer struct {
	metav1.TypeMeta `json:",inline"`
	Response        *admissionv1.AdmissionResponse `json:"response"`
}

// httpError is an error with the HTTP status it is answered by.
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

// read returns the review that a request asks for, or what is wrong with it.
func read(writer http.ResponseWriter, request *http.Request, decode func([]byte) (*admissionv1.AdmissionReview, error)) (*admissionv1.AdmissionReview, error) {
	if request.Method != http.MethodPost {
		return nil, refuse(http.StatusMethodNotAllowed, "method is %s, an AdmissionReview comes by POST", request.Method)
	}
	if content := request.Header.Get("Content-Type"); content != contentType {
		if media, _, err := mime.ParseMediaType(content); err != nil || media != contentType {
			return nil, refuse(http.StatusUnsupportedMediaType, "content type is %q, only %s is read", content, contentType)
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
		buffer.Grow(int(size) + bytes.MinRead) // Growing while it is read would take twice as much.
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

// buffers hold requests while they are read; a large one is not kept for the next.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const keptBuffer = 128 << 10 // bytes

var (
	reviewType = metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"}
	nodes      = metav1.GroupVersionResource{Version: "v1", Resource: "nodes"}
	nodeKind   = metav1.GroupVersionKind{Version: "v1", Kind: "Node"}
)

// check refuses everything but a Node about which that operation is asked.
func check(review *admissionv1.AdmissionReview, operation admissionv1.Operation) error {
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
		return fmt.Errorf("the request is about %s %s, this webhook is for nodes", request.Resource, request.SubResource)
	case request.Kind != nodeKind:
		return fmt.Errorf("the request has an object of the kind %q of %q, this webhook is for a Node of v1", request.Kind.Kind, schema.GroupVersion{Group: request.Kind.Group, Version: request.Kind.Version})
	case request.Operation != operation:
		return fmt.Errorf("the operation is %s, this webhook is for %s", request.Operation, operation)
	}
	return nil
}

// checkCreation refuses everything but a Node that is being created.
func checkCreation(review *admissionv1.AdmissionReview) error {
	if err := check(review, admissionv1.Create); err != nil {
		return err
	}
	if review.Request.Object.Object == nil {
		return errors.New("the request has no node with metadata")
	}
	return nil
}
