package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/diagnose"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/history"
)

// readTimeout limits one answer that reads the cluster.
const readTimeout = 30 * time.Second

// maxAtOnce limits the answers that read the cluster at the same time.
const maxAtOnce = 8

// addAPI adds the routes below /api, which all need a session. None of them changes anything.
func (s *Server) addAPI(routes *http.ServeMux) {
	slots := make(chan struct{}, maxAtOnce)
	// reading answers with what read returns.
	reading := func(pattern string, read func(context.Context, *http.Request) (any, error)) {
		routes.Handle("GET "+pattern, s.withSession(func(response http.ResponseWriter, request *http.Request) {
			ctx, cancel := context.WithTimeout(request.Context(), readTimeout)
			defer cancel()
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
				refuse(response, http.StatusServiceUnavailable, "too many requests at once; try again")
				return
			}
			answer, err := read(ctx, request)
			if err != nil {
				answerError(response, err)
				return
			}
			answerJSON(response, answer)
		}))
	}
	routes.Handle("GET /api/stream", s.withSession(s.newStreams().serve))
	reading("/api/about", func(context.Context, *http.Request) (any, error) { return s.cluster.about(), nil })
	reading("/api/nodes", func(context.Context, *http.Request) (any, error) {
		now := s.cluster.read()
		if now.nodes == nil {
			return nil, now.waiting()
		}
		return now.nodes, nil
	})
	reading("/api/nodes/{name}", func(ctx context.Context, request *http.Request) (any, error) {
		name, err := nodeName(request)
		if err != nil {
			return nil, err
		}
		return s.cluster.node(ctx, name)
	})
	reading("/api/nodes/{name}/diagnosis", func(ctx context.Context, request *http.Request) (any, error) {
		name, err := nodeName(request)
		if err != nil {
			return nil, err
		}
		return diagnose.Node(ctx, s.cluster.Client, s.cluster.Namespace, name, s.cluster.Now)
	})
	reading("/api/history", func(ctx context.Context, _ *http.Request) (any, error) {
		all := func(string, time.Time) bool { return true }
		return history.Read(ctx, s.cluster.Client, s.cluster.Namespace, all, s.cluster.Now)
	})
}

// invalidNameError is a name that no Node can have.
type invalidNameError struct{ problems []string }

func (e invalidNameError) Error() string { return "this is not the name of a node: " + e.problems[0] }

func nodeName(request *http.Request) (string, error) {
	name := request.PathValue("name")
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return "", invalidNameError{problems}
	}
	return name, nil
}

// withSession refuses requests without the cookie and the secret of a session.
func (s *Server) withSession(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if !s.sessions.allows(request, s.cookie) {
			refuse(response, http.StatusUnauthorized, "no session: open a new login link")
			return
		}
		next(response, request)
	})
}

// failure is the body of every answer that is an error.
type failure struct {
	Error string `json:"error"`
	// Next is the next step, if there is one.
	Next string `json:"next,omitempty"`
}

func answerError(response http.ResponseWriter, err error) {
	said := failure{Error: err.Error()}
	if known := (*exit.Error)(nil); errors.As(err, &known) {
		said.Next = known.Next
	}
	code := http.StatusBadGateway
	switch {
	case errors.As(err, new(invalidNameError)):
		code = http.StatusBadRequest
	case apierrors.IsNotFound(err):
		code = http.StatusNotFound
	case apierrors.IsForbidden(err):
		code = http.StatusForbidden
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout
	}
	response.Header().Set("Content-Type", "application/json")
	response.WriteHeader(code)
	encode(response, said)
}

func refuse(response http.ResponseWriter, code int, reason string) {
	response.Header().Set("Content-Type", "application/json")
	response.WriteHeader(code)
	encode(response, failure{Error: reason})
}

func answerJSON(response http.ResponseWriter, answer any) {
	response.Header().Set("Content-Type", "application/json")
	encode(response, answer)
}

// writeTimeout is how long a browser may take to read an answer or an event.
const writeTimeout = 10 * time.Second

// encode writes JSON. Its only error is a closed connection, and then nobody reads an answer.
func encode(response http.ResponseWriter, answer any) {
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err) // The types of the answers can always be encoded.
	}
	write(response, string(text))
}

func write(response http.ResponseWriter, text string) {
	control := http.NewResponseController(response)
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // A recorder of a test has none.
	_, _ = response.Write([]byte(text))
}
