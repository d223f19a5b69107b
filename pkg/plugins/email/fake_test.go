package email

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http/httptest"
	"net/mail"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	username = "nodes"
	password = "canary-91"
)

// mailServer is a submission server that refuses what RFC 5321 and RFC 6409 let a server refuse: a command in the
// wrong order, or without encryption or authentication; lines that are too long or end without CR; a message that is
// not ASCII, or lacks a header. It also reports these to the test.
type mailServer struct {
	t           *testing.T
	listener    net.Listener
	certificate tls.Certificate
	// roots verify the certificate, in PEM.
	roots string
	// implicit: the connection begins with TLS. auth are the mechanisms.
	implicit bool
	auth     string

	mutex sync.Mutex
	mails []received
	// answer, if it is not nil, returns the answer to a command, or "" for the usual one. The end of the data is ".".
	answer func(command string) string
	// hangAt is the verb of a command that is not answered. waiting is closed then.
	hangAt  string
	waiting chan struct{}
	// verbs are those of all commands.
	verbs []string
}

// received is one mail.
type received struct {
	from string
	to   []string
	*mail.Message
	body string
}

// newCertificate returns a certificate for 127.0.0.1 and example.com, and its root in PEM.
func newCertificate(t *testing.T) (tls.Certificate, string) {
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	return server.TLS.Certificates[0], string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func newMailServer(t *testing.T, change func(*mailServer)) *mailServer {
	t.Helper()
	s := &mailServer{t: t, auth: "PLAIN LOGIN"}
	s.certificate, s.roots = newCertificate(t)
	if change != nil {
		change(s)
	}
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { defer conn.Close(); s.serve(conn) })
		}
	})
	t.Cleanup(func() { s.listener.Close(); group.Wait() })
	return s
}

func (s *mailServer) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

var (
	ehloForm = regexp.MustCompile(`^EHLO (\[[0-9.]+\]|\[IPv6:[0-9a-f:]+\]|[a-z0-9-]+\.[a-z0-9.-]+)$`)
	mailForm = regexp.MustCompile(`^MAIL FROM:<([^<>\s]+@[^<>\s@]+)>$`)
	rcptForm = regexp.MustCompile(`^RCPT TO:<([^<>\s]+@[^<>\s@]+)>$`)
)

// serving is the state of one connection.
type serving struct {
	server               *mailServer
	conn                 net.Conn
	reader               *bufio.Reader
	encrypted, greeted   bool
	authenticated, ended bool
	received             received
}

func (s *mailServer) serve(conn net.Conn) {
	if s.implicit {
		conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{s.certificate}})
	}
	c := &serving{server: s, conn: conn, reader: bufio.NewReader(conn), encrypted: s.implicit}
	c.say(c.instead("CONNECT", "220 mail.example.com ESMTP"))
	for !c.ended {
		line, err := c.line(512)
		if err != nil {
			return
		}
		c.command(line)
	}
}

func (c *serving) say(text string) {
	if text == "HANG" {
		_, _ = io.Copy(io.Discard, c.conn) // Until the client gives up.
		c.ended = true
		return
	}
	if text == "" {
		return // What follows answers.
	}
	if _, err := fmt.Fprintf(c.conn, "%s\r\n", strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		c.ended = true
	}
}

// instead returns the answer of the test to a command, or the usual one.
func (c *serving) instead(command, usual string) string {
	s := c.server
	s.mutex.Lock()
	defer s.mutex.Unlock()
	verb := strings.ToUpper(strings.SplitN(command, " ", 2)[0])
	s.verbs = append(s.verbs, verb)
	if s.hangAt == verb {
		s.hangAt = ""
		close(s.waiting)
		return "HANG"
	}
	if s.answer != nil {
		if answer := s.answer(command); answer != "" {
			return answer
		}
	}
	return usual
}

// line reads one line without its end.
func (c *serving) line(limit int) (string, error) {
	line, err := c.reader.ReadString('\n')
	if err != nil {
		return "", err
	}
	text, whole := strings.CutSuffix(line, "\r\n")
	if !whole || strings.ContainsAny(text, "\r\x00") || len(line) > limit {
		c.server.t.Errorf("a line that is too long, or has a wrong end: %q", line)
		return "", errors.New("not a line of SMTP")
	}
	return text, nil
}

func (c *serving) command(line string) {
	verb := strings.ToUpper(strings.SplitN(line, " ", 2)[0])
	if !c.encrypted && verb != "EHLO" && verb != "HELO" && verb != "STARTTLS" && verb != "QUIT" {
		c.server.t.Errorf("%q before the connection is encrypted", line)
	}
	usual, then := c.usual(verb, line)
	answer := c.instead(line, usual)
	c.say(answer)
	if then != nil && answer == usual && !c.ended {
		then()
	}
}

// usual returns the answer to a command, and what follows it.
func (c *serving) usual(verb, line string) (answer string, then func()) {
	switch verb {
	case "EHLO":
		if !ehloForm.MatchString(line) {
			return "501 5.5.4 a domain or an address is needed", nil
		}
		c.greeted = true
		extensions := []string{"mail.example.com", "PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"}
		if !c.encrypted {
			extensions = append(extensions, "STARTTLS")
		} else if c.server.auth != "" {
			extensions = append(extensions, "AUTH "+c.server.auth)
		}
		return "250-" + strings.Join(extensions[:len(extensions)-1], "\n250-") + "\n250 " + extensions[len(extensions)-1], nil
	case "STARTTLS":
		if c.encrypted || !c.greeted {
			return "503 5.5.1 not now", nil
		}
		return "220 2.0.0 ready", func() {
			c.conn = tls.Server(c.conn, &tls.Config{Certificates: []tls.Certificate{c.server.certificate}})
			c.reader, c.encrypted, c.greeted = bufio.NewReader(c.conn), true, false
		}
	case "NOOP":
		return "250 2.0.0 ok", nil
	case "QUIT":
		return "221 2.0.0 bye", func() { c.ended = true }
	case "AUTH":
		return "", func() { c.say(c.authenticate(line)) }
	}
	if !c.authenticated && c.server.auth != "" {
		return "530 5.7.0 authentication is required", nil
	}
	if from := mailForm.FindStringSubmatch(line); from != nil && c.greeted && c.received.from == "" {
		c.received = received{from: from[1]}
		return "250 2.1.0 ok", nil
	}
	if to := rcptForm.FindStringSubmatch(line); to != nil && c.received.from != "" {
		if answer := c.server.refuses(line); answer != "" {
			return answer, nil
		}
		c.received.to = append(c.received.to, to[1])
		return "250 2.1.5 ok", nil
	}
	if line == "DATA" && len(c.received.to) > 0 {
		return "354 go ahead", c.data
	}
	return "503 5.5.1 " + line + " is wrong here", nil
}

// refuses returns the answer of the test to a recipient that is not accepted.
func (s *mailServer) refuses(line string) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.answer == nil {
		return ""
	}
	return s.answer(line)
}

func (c *serving) authenticate(line string) string {
	words := strings.Fields(line)
	ask := func(question string) string {
		c.say("334 " + base64.StdEncoding.EncodeToString([]byte(question)))
		text, err := c.line(12288)
		if err != nil {
			return ""
		}
		return text
	}
	decode := func(text string) string {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			c.server.t.Errorf("%q is not base64", text)
		}
		return string(data)
	}
	given := ""
	switch {
	case !c.encrypted || len(words) < 2 || !strings.Contains(" "+c.server.auth+" ", " "+words[1]+" "):
		return "504 5.5.4 not offered"
	case words[1] == "PLAIN" && len(words) == 3:
		given = decode(words[2])
	case words[1] == "LOGIN" && len(words) == 2:
		given = "\x00" + decode(ask("User Name")) + "\x00" + decode(ask("Password"))
	default:
		return "501 5.5.4 wrong"
	}
	if given != "\x00"+username+"\x00"+password {
		return "535 5.7.8 wrong credentials " + given // As a server that helps too much.
	}
	c.authenticated = true
	return "235 2.7.0 ok"
}

func (c *serving) data() {
	var data bytes.Buffer
	for {
		line, err := c.line(1000)
		if err != nil {
			c.ended = true
			return
		}
		if line == "." {
			break
		}
		data.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
	}
	s := c.server
	answer := c.instead(".", "250 2.0.0 queued as 4A8B")
	if strings.HasPrefix(answer, "250") {
		if problem := c.received.parse(data.Bytes()); problem != "" {
			s.t.Errorf("the message %s: %s", problem, data.String())
			answer = "550 5.6.0 the message " + problem
		} else {
			s.mutex.Lock()
			s.mails = append(s.mails, c.received)
			s.mutex.Unlock()
		}
	}
	c.received = received{}
	c.say(answer)
}

// parse reads a message, and returns what is wrong with it (RFC 5322, 3.6).
func (r *received) parse(data []byte) (problem string) {
	if bytes.ContainsFunc(data, func(c rune) bool { return c > 126 }) {
		return "is not ASCII"
	}
	var err error
	if r.Message, err = mail.ReadMessage(bytes.NewReader(data)); err != nil {
		return err.Error()
	}
	for _, field := range []string{"Date", "From", "To", "Message-Id", "In-Reply-To", "References", "Subject", "Mime-Version", "Content-Type", "Content-Transfer-Encoding", "Auto-Submitted"} {
		if len(r.Header[field]) != 1 {
			return fmt.Sprintf("has %d headers %s", len(r.Header[field]), field)
		}
	}
	if len(r.Header) != 11 {
		return fmt.Sprintf("has further headers: %v", r.Header)
	}
	if _, err := r.Header.Date(); err != nil {
		return err.Error()
	}
	if id := r.Header.Get("Message-Id"); !regexp.MustCompile(`^<[a-z0-9.]+@[a-z0-9.]+>$`).MatchString(id) {
		return "has the ID " + id
	}
	body, err := io.ReadAll(decoded(r.Message))
	if err != nil {
		return err.Error()
	}
	r.body = string(body)
	return ""
}

// sent returns the mails so far.
func (s *mailServer) sent() []received {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]received(nil), s.mails...)
}

// answers makes the server answer commands by that function until the test ends.
func (s *mailServer) answers(t *testing.T, answer func(command string) string) {
	set := func(answer func(string) string) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.answer = answer
	}
	set(answer)
	t.Cleanup(func() { set(nil) })
}

// hang makes the server not answer the next command of that verb. It closes the channel when it has the command.
func (s *mailServer) hang(verb string) <-chan struct{} {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.hangAt, s.waiting = verb, make(chan struct{})
	return s.waiting
}

// commands returns the verbs of the commands so far, and forgets them.
func (s *mailServer) commands() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	verbs := strings.Join(s.verbs, " ")
	s.verbs = nil
	return verbs
}

// otherRoots returns a root that has signed nothing, in PEM.
func otherRoots(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "other"}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
