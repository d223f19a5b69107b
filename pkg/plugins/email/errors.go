package email

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// failed describes an error of net/smtp. The error is permanent if the server refuses for good: an answer of the class
// 5 (RFC 5321, 4.2.1).
func (s *session) failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil { // The connection was closed because of it.
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	var answer *textproto.Error
	if errors.As(err, &answer) {
		err = fmt.Errorf("%s: the server answers %d %s", doing, answer.Code, httpclient.Redact(answer.Msg, s.hidden))
		if answer.Code/100 == 5 {
			return cleanup.Permanent(err)
		}
		return err
	}
	var protocol textproto.ProtocolError
	if errors.As(err, &protocol) { // It quotes what the server sent.
		return fmt.Errorf("%s: the answer is not from a mail server", doing)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// refusals are the errors of recipients that the server refused.
type refusals []refusal

type refusal struct {
	address string
	err     error
}

// Error names every refused recipient.
func (r refusals) Error() string {
	var all []string
	for _, one := range r {
		all = append(all, one.address+": "+one.err.Error())
	}
	return "the server refused " + strings.Join(all, "; ")
}

// classified marks the error as permanent if no retry can deliver the mail to any of these recipients.
func (r refusals) classified() error {
	for _, one := range r {
		if !cleanup.IsPermanent(one.err) {
			return r
		}
	}
	return cleanup.Permanent(r)
}
