package email

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// maxRead limits what a server can send on one connection, in bytes: net/textproto reads lines of any length.
const maxRead = 1 << 20

// server is a mail server with the options of a step or a notification.
type server struct {
	options
	dial    Dial
	secrets cleanup.Secrets
}

// session is a connection to a mail server that is encrypted and, if there are credentials, authenticated.
type session struct {
	*smtp.Client
	// hidden are the secrets that the server knows, and could repeat.
	hidden []string
	stop   func() bool
}

// open connects. The session ends when ctx is done.
func (s *server) open(ctx context.Context) (*session, error) {
	if s.dial == nil {
		return nil, errors.New("this program calls no other system")
	}
	config := &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12}
	if !s.CABundle.Empty() {
		bundle, err := httpclient.Resolve(ctx, s.secrets, s.CABundle)
		if err != nil {
			return nil, fmt.Errorf("finding the CA bundle: %w", err)
		}
		if config.RootCAs, err = httpclient.ParseBundle(bundle); err != nil {
			return nil, fmt.Errorf("the CA bundle %w", err)
		}
	}
	username, password, err := s.credentials(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := s.dial(ctx, "tcp", s.address())
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", s.address(), err)
	}
	opened := &session{stop: context.AfterFunc(ctx, func() { conn.Close() })}
	if password != "" {
		opened.hidden = []string{password, base64.StdEncoding.EncodeToString([]byte(password)), base64.StdEncoding.EncodeToString([]byte("\x00" + username + "\x00" + password))}
	}
	if err := opened.begin(ctx, &limited{conn, maxRead}, &s.options, config); err != nil {
		opened.stop()
		conn.Close()
		return nil, fmt.Errorf("connecting to %s: %w", s.address(), err)
	}
	if err := opened.authenticate(ctx, username, password, s.Host); err != nil {
		opened.close()
		return nil, fmt.Errorf("authenticating to %s: %w", s.address(), err)
	}
	return opened, nil
}

func (s *server) credentials(ctx context.Context) (username, password string, err error) {
	if s.Password.Empty() {
		return "", "", nil
	}
	if username, err = httpclient.Resolve(ctx, s.secrets, s.Username); err != nil {
		return "", "", fmt.Errorf("reading the user name: %w", err)
	}
	if password, err = httpclient.Resolve(ctx, s.secrets, s.Password); err != nil {
		return "", "", fmt.Errorf("reading the password: %w", err)
	}
	return username, password, nil
}

// begin reads the greeting and encrypts the connection. It sends nothing else before.
func (s *session) begin(ctx context.Context, conn net.Conn, o *options, config *tls.Config) error {
	self := name(conn.LocalAddr())
	if o.TLS == implicit {
		encrypted := tls.Client(conn, config)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return s.failed(ctx, "encrypting the connection", err)
		}
		conn = encrypted
	}
	var err error
	if s.Client, err = smtp.NewClient(conn, o.Host); err != nil {
		return s.failed(ctx, "reading the greeting", err)
	}
	if err := s.Hello(self); err != nil {
		return s.failed(ctx, "sending EHLO", err)
	}
	if o.TLS == implicit {
		return nil
	}
	// An attacker can remove the offer. A retry succeeds if a proxy answered in place of a server that restarts.
	if offered, _ := s.Extension("STARTTLS"); !offered {
		return errors.New("the server does not offer STARTTLS; no mail is sent without encryption. If the port expects TLS from the beginning, set tls: Implicit")
	}
	if err := s.StartTLS(config); err != nil {
		return s.failed(ctx, "encrypting the connection", err)
	}
	return nil
}

func (s *session) authenticate(ctx context.Context, username, password, host string) error {
	if password == "" {
		return nil
	}
	offered, parameters := s.Extension("AUTH")
	if !offered {
		return errors.New("the server does not offer authentication")
	}
	how, err := mechanism(parameters, username, password, host)
	if err != nil {
		return err
	}
	if err := s.Auth(how); err != nil {
		return s.failed(ctx, "sending AUTH", err)
	}
	return nil
}

// name returns how the plugin calls itself: a Pod has no host name that others can resolve, so it is the address
// (RFC 5321, 4.1.3 and 4.1.4).
func name(local net.Addr) string {
	tcp, is := local.(*net.TCPAddr)
	switch {
	case !is:
		return "localhost"
	case tcp.IP.To4() != nil:
		return "[" + tcp.IP.String() + "]"
	}
	return "[IPv6:" + tcp.IP.String() + "]"
}

// quitTimeout is how long the answer to QUIT is read. Nothing depends on it.
const quitTimeout = time.Second

// close ends the session.
func (s *session) close() {
	quit := time.AfterFunc(quitTimeout, func() { s.Close() })
	defer quit.Stop()
	if err := s.Quit(); err != nil { // The server has accepted or refused the mail before.
		s.Close()
	}
	s.stop()
}

// limited is a connection that ends after a number of bytes that were read.
type limited struct {
	net.Conn
	remaining int
}

// Read implements net.Conn.
func (l *limited) Read(data []byte) (int, error) {
	if l.remaining <= 0 {
		return 0, fmt.Errorf("the server sent more than %d KiB", maxRead>>10)
	}
	n, err := l.Conn.Read(data[:min(len(data), l.remaining)])
	l.remaining -= n
	return n, err
}
