package email

import (
	"errors"
	"net/smtp"
	"slices"
	"strings"
)

// mechanism returns how to authenticate, by what the server offers: the parameters of its extension AUTH (RFC 4954).
func mechanism(offered, username, password, host string) (smtp.Auth, error) {
	names := strings.Fields(strings.ToUpper(offered))
	switch {
	case slices.Contains(names, "PLAIN"):
		return smtp.PlainAuth("", username, password, host), nil
	case slices.Contains(names, "LOGIN"):
		return &login{username: username, password: password}, nil
	case slices.Contains(names, "CRAM-MD5"):
		return smtp.CRAMMD5Auth(username, password), nil
	}
	return nil, errors.New("the server offers none of the mechanisms PLAIN, LOGIN and CRAM-MD5")
}

// login is the mechanism LOGIN, which has no standard, and which net/smtp lacks. Some servers have no other one. The
// server asks for the user name, then for the password; the texts of its questions differ.
type login struct {
	username, password string
	asked              int
}

// Start implements smtp.Auth. It refuses to send the password without TLS, as smtp.PlainAuth does.
func (l *login) Start(server *smtp.ServerInfo) (string, []byte, error) {
	if !server.TLS {
		return "", nil, errors.New("the connection is not encrypted")
	}
	return "LOGIN", nil, nil
}

// Next implements smtp.Auth.
func (l *login) Next(_ []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	l.asked++
	switch l.asked {
	case 1:
		return []byte(l.username), nil
	case 2:
		return []byte(l.password), nil
	}
	return nil, errors.New("the server asks for more than a user name and a password")
}
