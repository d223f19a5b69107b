package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
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
		review, err := read(writer, request, decodeDeletion)
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
		node := asked.OldObject.Object.(*metav1.PartialObjectMetadata)
		verdict := evaluator.Evaluate(ctx, guard.Request{
			Name: node.Name, UID: node.UID, User: asked.UserInfo.Username, Groups: asked.UserInfo.Groups,
			Verified: authenticated(request), DryRun: ptr.Deref(asked.DryRun, false),
		})
		writeAnswer(writer, request, answerDeletion(asked.UID, verdict), log)
		metrics.WebhookRequest(string(asked.Operation), outcome(verdict), time.Since(began))
	})
}

const (
	// answerShare is how much of the time that the API server waits is used, so that the
	// answer gets there in it.
	answerShare = 0.8
	// longestWait is that time at most, and where it does not say.
	longestWait = 10 * time.Second
	usualWait   = 3 * time.Second
)

// timeFor returns how long an answer may take. An API server says how long it waits.
func timeFor(request *http.Request) time.Duration {
	wait, err := time.ParseDuration(request.URL.Query().Get("timeout"))
	if err != nil || wait <= 0 {
		wait = usualWait
	}
	return time.Duration(answerShare * float64(min(wait, longestWait)))
}

func answerDeletion(uid types.UID, verdict guard.Verdict) *admissionv1.AdmissionResponse {
	response := &admissionv1.AdmissionResponse{UID: uid, Allowed: verdict.Allowed, Warnings: verdict.Warnings}
	if !verdict.Allowed {
		response.Result = &metav1.Status{Status: metav1.StatusFailure, Message: verdict.Message, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden}
	}
	if verdict.Busy {
		// By this, client-go and with it kubectl and most controllers try again by themselves.
		response.Result.Reason, response.Result.Code = metav1.StatusReasonTooManyRequests, http.StatusTooManyRequests
		response.Result.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	}
	return response
}

// outcome is how a verdict is counted.
func outcome(verdict guard.Verdict) string {
	switch {
	case len(verdict.Unread) > 0 || verdict.Busy:
		return "error"
	case verdict.Allowed:
		return "allowed"
	}
	return "refused"
}

// deletion is what is read of an AdmissionReview about one.
type deletion struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Request    *struct {
		UID         types.UID                   `json:"uid"`
		Kind        metav1.GroupVersionKind     `json:"kind"`
		Resource    metav1.GroupVersionResource `json:"resource"`
		SubResource string                      `json:"subResource"`
		Operation   admissionv1.Operation       `json:"operation"`
		DryRun      *bool                       `json:"dryRun"`
		UserInfo    struct {
			Username string   `json:"username"`
			Groups   []string `json:"groups"`
		} `json:"userInfo"`
		OldObject struct {
			Metadata *struct {
				Name string    `json:"name"`
				UID  types.UID `json:"uid"`
			} `json:"metadata"`
		} `json:"oldObject"`
	} `json:"request"`
}

// decodeDeletion is decode for a deletion. Of the Node it reads the identity only: the guard
// decides on the live Node.
func decodeDeletion(body []byte) (*admissionv1.AdmissionReview, error) {
	var asked deletion
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, err
	}
	review := &admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: asked.APIVersion, Kind: asked.Kind}}
	from := asked.Request
	if from == nil {
		return review, nil
	}
	review.Request = &admissionv1.AdmissionRequest{UID: from.UID, Kind: from.Kind, Resource: from.Resource, SubResource: from.SubResource, Operation: from.Operation, DryRun: from.DryRun}
	review.Request.UserInfo.Username, review.Request.UserInfo.Groups = from.UserInfo.Username, from.UserInfo.Groups
	if meta := from.OldObject.Metadata; meta != nil {
		review.Request.OldObject.Object = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: meta.Name, UID: meta.UID}}
	}
	return review, nil
}

// maxUser is the maximum length of a user name in the ledger, in bytes. Names from
// certificates and service accounts are much shorter.
const maxUser = 1 << 10

// checkDeletion refuses everything but a Node that somebody wants to delete.
func checkDeletion(review *admissionv1.AdmissionReview) error {
	if err := check(review, admissionv1.Delete); err != nil {
		return err
	}
	node, is := review.Request.OldObject.Object.(*metav1.PartialObjectMetadata)
	switch {
	case !is:
		return errors.New("the request has no old node with metadata")
	case node.Name == "" || node.UID == "":
		return errors.New("the node in the request has no name or no uid")
	case len(content.IsPathSegmentName(node.Name)) > 0:
		return fmt.Errorf("the node in the request is called %q, which is no name of a node", node.Name)
	case review.Request.UserInfo.Username == "":
		return errors.New("the request does not say who asks")
	case len(review.Request.UserInfo.Username) > maxUser:
		return fmt.Errorf("the name of who asks is %d bytes long, and %d are kept", len(review.Request.UserInfo.Username), maxUser)
	}
	return nil
}
