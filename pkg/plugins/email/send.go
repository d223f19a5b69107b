package email

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"net/textproto"
	"slices"
	"time"
)

// send sends the message to its recipients except those that already have it, and returns those that the server
// accepted it for. If the server refuses some of the recipients, the others get the mail, and the error names the
// refused ones.
func (s *server) send(ctx context.Context, m message, already []string) (accepted []string, err error) {
	remaining := slices.DeleteFunc(slices.Clone(m.to), func(a *mail.Address) bool { return slices.Contains(already, a.Address) })
	if len(remaining) == 0 {
		return nil, nil
	}
	opened, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer opened.close()
	if err := opened.mail(ctx, m.from.Address); err != nil {
		return nil, fmt.Errorf("sending a mail through %s: %w", s.address(), err)
	}
	var refused refusals
	for _, address := range remaining {
		err := opened.Rcpt(address.Address)
		var answer *textproto.Error
		switch {
		case err == nil:
			accepted = append(accepted, address.Address)
		case !errors.As(err, &answer):
			return nil, fmt.Errorf("sending a mail through %s: %w", s.address(), opened.failed(ctx, "sending RCPT", err))
		default:
			if answer.Code == 552 {
				answer.Code = 452 // "Too many recipients" in old servers: RFC 5321, 4.5.3.1.10.
			}
			refused = append(refused, refusal{address.Address, opened.failed(ctx, "sending RCPT", answer)})
		}
	}
	if len(accepted) == 0 {
		return nil, fmt.Errorf("sending a mail through %s: %w", s.address(), refused.classified())
	}
	if err := opened.data(ctx, m.encode(time.Now())); err != nil {
		return nil, fmt.Errorf("sending a mail through %s: %w", s.address(), err)
	}
	if len(refused) > 0 {
		return accepted, fmt.Errorf("sending a mail through %s: %w", s.address(), refused.classified())
	}
	return accepted, nil
}

// mail begins a message. It does not use smtp.Client.Mail, which demands SMTPUTF8 of each further server although the
// message has ASCII characters only: a server without it would return the mail.
func (s *session) mail(ctx context.Context, from string) error {
	id, err := s.Text.Cmd("MAIL FROM:<%s>", from)
	if err != nil {
		return s.failed(ctx, "sending MAIL", err)
	}
	s.Text.StartResponse(id)
	defer s.Text.EndResponse(id)
	if _, _, err := s.Text.ReadResponse(250); err != nil {
		return s.failed(ctx, "sending MAIL", err)
	}
	return nil
}

// data sends the message. It is sent when the server answers to its end.
func (s *session) data(ctx context.Context, message []byte) error {
	writer, err := s.Data()
	if err != nil {
		return s.failed(ctx, "sending DATA", err)
	}
	if _, err := writer.Write(message); err != nil {
		return s.failed(ctx, "sending the message", err)
	}
	if err := writer.Close(); err != nil {
		return s.failed(ctx, "sending the message", err)
	}
	return nil
}
