package webhookplugin

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Service does the work of a cleanup step. Its methods are called from several goroutines.
type Service interface {
	// Cleanup begins or continues the work, and answers soon: the agent waits for at most 10 seconds
	// by default. It is idempotent: after Done, the same IdempotencyKey is answered with Done again.
	// An error is a failure that the agent retries; operators see its text.
	Cleanup(ctx context.Context, request *Request) (Answer, error)
}

// Previewer is implemented by services that can list the effects of Cleanup in advance.
type Previewer interface {
	// Preview returns the effects that Cleanup would have. It changes nothing.
	Preview(ctx context.Context, request *Request) ([]Effect, error)
}

// Verifier is implemented by services that can check whether the work of an earlier Cleanup still
// holds.
type Verifier interface {
	// Verify returns "" if the work is still done, otherwise what is no longer done. It changes
	// nothing.
	Verify(ctx context.Context, request *Request) (undone string, err error)
}

// HealthChecker is implemented by services that can check in advance whether Cleanup can work.
type HealthChecker interface {
	// CheckHealth returns an error if Cleanup cannot work now. It changes nothing.
	CheckHealth(ctx context.Context) error
}

// Options of a Handler.
type Options struct {
	// Name and Version of the service, for operators.
	Name, Version string
	// Token is the bearer token that requests need, unless it is empty.
	Token string
	// HMACSecret is the secret that requests are signed with, unless it is empty.
	HMACSecret []byte
	// Now returns the current time; nil for time.Now.
	Now func() time.Time
}

// Handler serves the protocol for a service. It refuses requests without the token or the signature in
// the options, and malformed ones, before the service is called.
func Handler(service Service, options Options) http.Handler {
	h := &handler{service, options}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+DiscoveryPath+"{$}", h.authorized(h.discover))
	mux.HandleFunc("GET "+HealthPath, h.authorized(h.health))
	mux.HandleFunc("POST "+CleanupPath, h.authorized(withRequest(func(ctx context.Context, request *Request) (any, error) {
		answer, err := service.Cleanup(ctx, request)
		if err == nil {
			err = answer.Validate()
		}
		return answer, err
	})))
	if previewer, can := service.(Previewer); can {
		mux.HandleFunc("POST "+PreviewPath, h.authorized(withRequest(func(ctx context.Context, request *Request) (any, error) {
			effects, err := previewer.Preview(ctx, request)
			return PreviewAnswer{Effects: append([]Effect{}, effects...)}, err
		})))
	}
	if verifier, can := service.(Verifier); can {
		mux.HandleFunc("POST "+VerifyPath, h.authorized(withRequest(func(ctx context.Context, request *Request) (any, error) {
			undone, err := verifier.Verify(ctx, request)
			return VerifyAnswer{Undone: &undone}, err
		})))
	}
	if notifier, can := service.(Notifier); can {
		mux.HandleFunc("POST "+NotifyPath, h.authorized(notify(notifier)))
	}
	return mux
}

type handler struct {
	service Service
	options Options
}

// authorized calls next with the body of a request that has the token and the signature.
func (h *handler) authorized(next func(http.ResponseWriter, *http.Request, []byte)) http.HandlerFunc {
	return func(writer http.ResponseWriter, request *http.Request) {
		token, _ := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
		if h.options.Token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(h.options.Token)) != 1 {
			refuse(writer, http.StatusUnauthorized, "the bearer token is missing or wrong")
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, MaxRequest))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			refuse(writer, http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is larger than %d KiB", MaxRequest>>10))
			return
		case err != nil:
			refuse(writer, http.StatusBadRequest, "the body of the request broke off")
			return
		}
		if len(h.options.HMACSecret) > 0 {
			now := time.Now
			if h.options.Now != nil {
				now = h.options.Now
			}
			if err := CheckSignature(request, body, h.options.HMACSecret, now()); err != nil {
				refuse(writer, http.StatusUnauthorized, err.Error())
				return
			}
		}
		next(writer, request, body)
	}
}

// withRequest decodes the request for a method of the service, and sends its answer.
func withRequest(call func(context.Context, *Request) (any, error)) func(http.ResponseWriter, *http.Request, []byte) {
	return func(writer http.ResponseWriter, received *http.Request, body []byte) {
		var request Request
		if err := json.Unmarshal(body, &request); err != nil {
			refuse(writer, http.StatusBadRequest, "the request is not valid JSON of this protocol")
			return
		}
		if request.IdempotencyKey == "" || request.Node.Name == "" || request.Node.UID == "" {
			refuse(writer, http.StatusBadRequest, "the request lacks idempotencyKey, node.name or node.uid")
			return
		}
		answer, err := call(received.Context(), &request)
		if err != nil {
			refuse(writer, http.StatusInternalServerError, err.Error())
			return
		}
		send(writer, http.StatusOK, answer)
	}
}

func (h *handler) discover(writer http.ResponseWriter, _ *http.Request, _ []byte) {
	discovery := Discovery{Versions: []string{Version}, Abilities: []Ability{AbilityCleanup}, Name: h.options.Name, Version: h.options.Version}
	if _, can := h.service.(Previewer); can {
		discovery.Abilities = append(discovery.Abilities, AbilityPreview)
	}
	if _, can := h.service.(Verifier); can {
		discovery.Abilities = append(discovery.Abilities, AbilityVerify)
	}
	if _, can := h.service.(Notifier); can {
		discovery.Abilities = append(discovery.Abilities, AbilityNotify)
	}
	send(writer, http.StatusOK, discovery)
}

func (h *handler) health(writer http.ResponseWriter, request *http.Request, _ []byte) {
	if checker, can := h.service.(HealthChecker); can {
		if err := checker.CheckHealth(request.Context()); err != nil {
			refuse(writer, http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	send(writer, http.StatusOK, Problem{})
}

func refuse(writer http.ResponseWriter, status int, message string) {
	send(writer, status, Problem{Message: message})
}

func send(writer http.ResponseWriter, status int, answer any) {
	data, err := json.Marshal(answer)
	if err != nil { // The types of this package can be encoded.
		panic(err)
	}
	writer.Header().Set("Content-Type", "application/json")
	writer.WriteHeader(status)
	_, _ = writer.Write(data) // The client has disconnected; it asks again.
}
