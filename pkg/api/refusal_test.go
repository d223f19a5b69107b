package api

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestRefusedAndRetriableErrors(t *testing.T) {
	nodes := schema.GroupResource{Resource: "nodes"}
	for _, test := range []struct {
		err                error
		refused, retriable bool
	}{
		{nil, false, false},
		{apierrors.NewForbidden(nodes, "n", errors.New("no")), true, false},
		{apierrors.NewUnauthorized("expired"), true, false},
		{apierrors.NewConflict(nodes, "n", errors.New("changed")), false, false},
		{apierrors.NewTooManyRequests("busy", 1), false, true},
		{apierrors.NewInternalError(errors.New("etcd is away")), false, true},
		{apierrors.NewServiceUnavailable("starting"), false, true},
		{&url.Error{Op: "Get", URL: "https://127.0.0.1", Err: syscall.ECONNREFUSED}, false, true},
		{errors.New("the record cannot be decoded"), false, false},
		{context.Canceled, false, false},
	} {
		err := test.err
		if err != nil {
			err = fmt.Errorf("reading node n: %w", err)
		}
		if Refused(err) != test.refused || Retriable(err) != test.retriable {
			t.Errorf("%v: refused %v, retriable %v", err, Refused(err), Retriable(err))
		}
	}
}
