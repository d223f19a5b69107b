package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Evaluator says whether a Node may be deleted, before ctx ends.
type Evaluator interface {
	Evaluate(ctx context.Context, request guard.Request) guard.Verdict
}

// GuardHandler returns the handler of the validating webhook, which the API server calls for
// each deletion of a Node. Authenticated reports whether the caller proved to be an API server.
func GuardHandler(evaluator Evaluator, authenticated func(*http.Request) bool, metrics Metrics, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		began := time.Now()
		review, err := read(writer, request, decode)
		if err == nil {
			err = checkDeletion(review)
		}
		if err != nil {
			refuseRequest(writer, request, err, time.Since(began), metrics, log)
			return
		}
		ctx, cancel := context.WithTimeout(request.Context(), timeFor(request))
		defer cancel()
		asked := review.Request
		node := asked.OldObject.Metadata
		verdict := evaluator.Evaluate(ctx, guard.Request{
			Name: node.Name, UID: node.UID, Labels: node.Labels, Annotations: node.Annotations, User: asked.UserInfo.Username, Groups: asked.UserInfo.Groups,
			Verified: authenticated(request), DryRun: asked.DryRun,
		})
		response := answerDeletion(asked.UID, verdict)
		if asked.DryRun && verdict.Allowed {
			response.Warnings = append(response.Warnings, api.DryRunWarning(api.GuardHook))
		}
		writeAnswer(writer, request, response, log)
		metrics.WebhookRequest(string(asked.Operation), outcome(verdict), time.Since(began))
	})
}

const (
	// answerShare is the share of the API server's timeout after which the answer is sent, so
	// that it arrives in time.
	answerShare = 0.8
	// maxWait limits that timeout; defaultWait applies if the request does not name one.
	maxWait     = 10 * time.Second
	defaultWait = 3 * time.Second
)

// timeFor returns how long an answer may take. An API server names its timeout in the query.
func timeFor(request *http.Request) time.Duration {
	wait, err := time.ParseDuration(request.URL.Query().Get("timeout"))
	if err != nil || wait <= 0 {
		wait = defaultWait
	}
	return time.Duration(answerShare * float64(min(wait, maxWait)))
}

func answerDeletion(uid types.UID, verdict guard.Verdict) *admissionv1.AdmissionResponse {
	response := &admissionv1.AdmissionResponse{UID: uid, Allowed: verdict.Allowed, Warnings: verdict.Warnings}
	if !verdict.Allowed {
		response.Result = &metav1.Status{Status: metav1.StatusFailure, Message: verdict.Message, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden}
	}
	if verdict.Busy {
		// With this, client-go retries, and so do kubectl and most controllers.
		response.Result.Reason, response.Result.Code = metav1.StatusReasonTooManyRequests, http.StatusTooManyRequests
		response.Result.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	}
	return response
}

// outcome is the result of a verdict in the metrics.
func outcome(verdict guard.Verdict) string {
	switch {
	case len(verdict.Unread) > 0 || verdict.Busy:
		return "error"
	case verdict.Allowed:
		return "allowed"
	}
	return "refused"
}

// maxUser is the maximum length of a user name in the ledger, in bytes. Names from
// certificates and service accounts are much shorter.
const maxUser = 1 << 10

// checkDeletion refuses everything but the deletion of a Node by a user.
func checkDeletion(review *review) error {
	if err := check(review, admissionv1.Delete); err != nil {
		return err
	}
	node := review.Request.OldObject.Metadata
	switch {
	case node == nil:
		return errors.New("the request has no old node with metadata")
	case node.Name == "" || node.UID == "":
		return errors.New("the node in the request has no name or no uid")
	case len(content.IsPathSegmentName(node.Name)) > 0:
		return fmt.Errorf("the node in the request has the name %q, which is not a valid node name", node.Name)
	case review.Request.UserInfo.Username == "":
		return errors.New("the request has no user")
	case len(review.Request.UserInfo.Username) > maxUser:
		return fmt.Errorf("the name of the user has %d bytes, the maximum is %d", len(review.Request.UserInfo.Username), maxUser)
	}
	return nil
}
