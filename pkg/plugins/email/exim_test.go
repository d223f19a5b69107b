//go:build unix

package email

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// eximConfig makes Exim a submission server: TLS, then authentication, then mails from example.com to example.com. It
// stores accepted mails in its queue, and refuses two of the recipients. The parameters are the folder, the section
// of the authenticator, and the owner of its files.
const eximConfig = `
%[3]s
primary_hostname = mail.example.com
spool_directory = %[1]s
log_file_path = %[1]s/%%slog
tls_certificate = %[1]s/certificate.pem
tls_privatekey = %[1]s/key.pem
tls_advertise_hosts = *
queue_only = true
untrusted_set_sender = *
acl_smtp_mail = mail
acl_smtp_rcpt = rcpt
acl_smtp_data = data
begin acl
mail:
  deny message = 5.7.0 STARTTLS is required
       !encrypted = *
  deny message = 5.7.0 authentication is required
       !authenticated = *
  accept senders = *@example.com
  deny message = 5.7.1 not your address
rcpt:
  deny message = 5.1.1 no such user
       local_parts = nobody
  defer message = 4.2.2 mailbox full
       local_parts = full
  accept domains = example.com
  deny message = 5.7.1 relaying is not allowed
data:
  deny message = 5.6.0 a line is too long
       condition = ${if > {$max_received_linelength}{998}}
  require verify = header_syntax
  accept
begin authenticators
%[2]s
`

// eximAuthenticators are the sections by mechanism. They are offered after the encryption only.
var eximAuthenticators = map[string]string{
	"PLAIN": `plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{` + username + `}}{eq{$auth3}{` + password + `}}}}
  server_set_id = $auth2
  server_advertise_condition = ${if def:tls_in_cipher}`,
	"LOGIN": `login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${if and{{eq{$auth1}{` + username + `}}{eq{$auth2}{` + password + `}}}}
  server_set_id = $auth1
  server_advertise_condition = ${if def:tls_in_cipher}`,
	"CRAM-MD5": `cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${if eq{$auth1}{` + username + `}{` + password + `}fail}
  server_set_id = $auth1
  server_advertise_condition = ${if def:tls_in_cipher}`,
}

// exim is a real mail server. Only a listener is shared: each connection has its own process, which speaks SMTP on its
// standard input and output, so it needs neither rights nor a port of its own.
type exim struct {
	mailServer
	folder string
}

func startExim(t *testing.T, mechanism string, change func(*mailServer)) *exim {
	t.Helper()
	program, err := exec.LookPath("exim4")
	if err != nil {
		program = "/usr/sbin/exim4"
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("exim4 is not installed (Debian: apt-get install exim4-daemon-light), so no real mail server is tested")
	}
	// Exim gives up its rights, and must be able to write. It takes no path with spaces.
	folder, err := os.MkdirTemp("", "exim")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	e := &exim{mailServer: mailServer{t: t}, folder: folder}
	if change != nil {
		change(&e.mailServer)
	}
	e.certificate, e.roots = newCertificate(t)
	key, err := x509.MarshalPKCS8PrivateKey(e.certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	owner := "" // As root, Exim becomes its own user.
	if os.Getuid() != 0 {
		owner = fmt.Sprintf("exim_user = %d\nexim_group = %d", os.Getuid(), os.Getgid())
	}
	for name, content := range map[string]string{
		"certificate.pem": e.roots, "key.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		"config": fmt.Sprintf(eximConfig, folder, eximAuthenticators[mechanism], owner),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	if e.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	arguments := []string{"-C", filepath.Join(folder, "config"), "-bs"}
	if e.implicit {
		arguments = append(arguments, "-tls-on-connect")
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := e.listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { e.run(conn, exec.CommandContext(t.Context(), program, arguments...)) })
		}
	})
	t.Cleanup(func() { e.listener.Close(); group.Wait() })
	return e
}

// run runs Exim for one connection. Its input and output are a socket, because its TLS library reads from no pipe. It is
// not the one of the client, because an Exim of a user who is not root accepts no Internet socket there.
func (e *exim) run(conn net.Conn, command *exec.Cmd) {
	defer conn.Close()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		e.t.Error(err)
		return
	}
	theirs, ours := os.NewFile(uintptr(pair[0]), "exim"), os.NewFile(uintptr(pair[1]), "test")
	local, err := net.FileConn(ours)
	if err != nil {
		e.t.Error(err)
		return
	}
	defer local.Close()
	ours.Close()
	var said bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = theirs, theirs, &said
	err = command.Start()
	theirs.Close()
	if err != nil {
		e.t.Error(err)
		return
	}
	var group sync.WaitGroup
	group.Go(func() {
		_, _ = io.Copy(local, conn) // It ends with the connection.
		local.Close()
	})
	group.Go(func() {
		_, _ = io.Copy(conn, local)
		conn.Close()
	})
	err = command.Wait()
	group.Wait()
	if err != nil && e.t.Context().Err() == nil {
		e.t.Logf("exim: %v: %s", err, said.String())
	}
}

// queued returns the accepted mails with their recipients: the files of Exim's queue that end with -H and -D.
// See https://www.exim.org/exim-html-current/doc/html/spec_html/ch-format_of_spool_files.html.
func (e *exim) queued() []received {
	e.t.Helper()
	var all []received
	files, err := filepath.Glob(filepath.Join(e.folder, "input", "*-H"))
	if err != nil {
		e.t.Fatal(err)
	}
	for _, file := range files {
		envelope, err := os.ReadFile(file)
		if err != nil {
			e.t.Fatal(err)
		}
		body, err := os.ReadFile(strings.TrimSuffix(file, "-H") + "-D")
		if err != nil {
			e.t.Fatal(err)
		}
		_, body, _ = bytes.Cut(body, []byte("\n"))
		before, header, _ := strings.Cut(string(envelope), "\n\n")
		mail := received{to: regexp.MustCompile(`(?m)^\S+@example\.com$`).FindAllString(before, -1)}
		// Each header begins with its length and its kind.
		header = regexp.MustCompile(`(?m)^[0-9]{3,} ?.  ?`).ReplaceAllString(header, "")
		mail.Message, err = readMail(header + "\n" + string(body))
		if err != nil {
			e.t.Fatalf("%v: %s", err, header)
		}
		text, err := io.ReadAll(decoded(mail.Message))
		if err != nil {
			e.t.Fatal(err)
		}
		mail.body = string(text)
		all = append(all, mail)
	}
	return all
}

func readMail(text string) (*mail.Message, error) { return mail.ReadMessage(strings.NewReader(text)) }

func TestARealServerAcceptsTheMails(t *testing.T) {
	for name, test := range map[string]struct {
		mechanism string
		change    func(*mailServer)
	}{
		"STARTTLS, PLAIN": {"PLAIN", nil}, "STARTTLS, LOGIN": {"LOGIN", nil}, "STARTTLS, CRAM-MD5": {"CRAM-MD5", nil},
		"TLS, PLAIN": {"PLAIN", func(s *mailServer) { s.implicit = true }},
	} {
		t.Run(name, func(t *testing.T) {
			e := startExim(t, test.mechanism, test.change)
			plugin := e.plugin(t, map[string]any{"to": []string{"a@example.com", "nobody@example.com", "full@example.com"}, "body": "Grüße\n.\n" + strings.Repeat("x", 3000)})
			if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
				t.Fatal(err)
			}
			target, outputs := targetFor("announce", map[string]string{})
			err := plugin.Cleanup(t.Context(), target)
			if err == nil || cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "nobody@example.com: sending RCPT: the server answers 550 5.1.1 no such user; full@example.com: sending RCPT: the server answers 451 4.2.2 mailbox full") {
				t.Errorf("%v", err)
			}
			mails := e.queued()
			if len(mails) != 1 || fmt.Sprint(mails[0].to) != "[a@example.com]" || outputs[sentTo] != "a@example.com" {
				t.Fatalf("%+v, %v", mails, outputs)
			}
			m := mails[0]
			if want := messageID("u7/announce", "example.com"); m.Header.Get("Message-Id") != want || m.Header.Get("References") != messageID("u7", "example.com") {
				t.Errorf("%v", m.Header)
			}
			if subject(t, m.Message) != "Node worker-7 leaves the cluster" || m.body != "Grüße\n.\n"+strings.Repeat("x", 3000)+"\n" {
				t.Errorf("%v: %q", m.Header, m.body)
			}
		})
	}
}

func TestARealServerRefuses(t *testing.T) {
	e := startExim(t, "PLAIN", nil)
	wrong, faults := Descriptor(dial, plugintest.Secrets{"username": username, "password": "canary-no"}).Bind([]byte(e.optionsFor(nil)))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for want, plugin := range map[string]cleanup.Plugin{
		"sending AUTH: the server answers 535 Incorrect authentication data": wrong,
		"sending MAIL: the server answers 550 5.7.1 not your address":        e.plugin(t, map[string]any{"from": "nodes@example.net"}),
		"sending MAIL: the server answers 550 5.7.0 authentication":          e.plugin(t, map[string]any{"username": nil, "password": nil}),
		"ops@example.net: sending RCPT: the server answers 550 5.7.1 relay":  e.plugin(t, map[string]any{"to": []string{"ops@example.net"}}),
	} {
		target, _ := targetFor("announce", nil)
		err := plugin.Cleanup(t.Context(), target)
		if err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if mails := e.queued(); len(mails) != 0 {
		t.Errorf("%v", mails)
	}
}
