package email

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func stored() plugintest.Secrets {
	return plugintest.Secrets{"username": username, "password": password + "\n"}
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// optionsFor returns options for the server as JSON, with changes.
func (s *mailServer) optionsFor(changes map[string]any) string {
	secret := func(key string) any {
		return map[string]any{"secretKeyRef": map[string]any{"name": "mail", "key": key}}
	}
	options := map[string]any{
		"host": "127.0.0.1", "port": s.port(), "caBundle": s.roots, "from": "Node cleanup <nodes@example.com>", "to": []string{"ops@example.com"},
		"username": secret("username"), "password": secret("password"),
	}
	if s.implicit {
		options["tls"] = "Implicit"
	}
	for name, value := range changes {
		options[name] = value
		if value == nil {
			delete(options, name)
		}
	}
	data, err := json.Marshal(options)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func (s *mailServer) plugin(t *testing.T, changes map[string]any) cleanup.Plugin {
	t.Helper()
	plugin, faults := Descriptor(dial, stored()).Bind([]byte(s.optionsFor(changes)))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

func (s *mailServer) notifier(t *testing.T, changes map[string]any) cleanup.Notifier {
	t.Helper()
	notifier, faults := Descriptor(dial, stored()).BindNotifier([]byte(s.optionsFor(changes)))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return notifier
}

// targetFor returns a target, and the outputs that it records.
func targetFor(step string, annotations map[string]string) (cleanup.Target, map[string]string) {
	recorded := map[string]string{}
	return cleanup.Target{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker-7", UID: "u7", Labels: map[string]string{"team": "storage"}, Annotations: annotations}},
		Step: step, Attempt: 1, IdempotencyKey: "u7/" + step, Outputs: map[string]map[string]string{step: recorded}, Log: slog.New(slog.DiscardHandler),
		Recorded: func(name, value string) error { recorded[name] = value; return nil },
	}, recorded
}

func decoded(message *mail.Message) io.Reader { return quotedprintable.NewReader(message.Body) }

func subject(t *testing.T, message *mail.Message) string {
	t.Helper()
	text, err := new(mime.WordDecoder).DecodeHeader(message.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAStepSendsAMail(t *testing.T) {
	for name, change := range map[string]func(*mailServer){
		"STARTTLS, PLAIN": nil,
		"STARTTLS, LOGIN": func(s *mailServer) { s.auth = "LOGIN" },
		"TLS, PLAIN":      func(s *mailServer) { s.implicit = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := newMailServer(t, change)
			target, _ := targetFor("announce", nil)
			err := s.plugin(t, map[string]any{
				"to":      []string{"Ops <ops@example.com>", "${node.labels['team']}@example.com", "ops@example.com"},
				"subject": "Node ${node.name} geht 🖖", "body": "Hallo,\n.\n..\nNode ${node.name} ist weg. Grüße " + strings.Repeat("x", 2000),
			}).Cleanup(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			mails := s.sent()
			if len(mails) != 1 {
				t.Fatalf("%d mails were sent", len(mails))
			}
			m := mails[0]
			if m.from != "nodes@example.com" || strings.Join(m.to, " ") != "ops@example.com storage@example.com" {
				t.Errorf("from %s to %v", m.from, m.to)
			}
			if m.Header.Get("From") != `"Node cleanup" <nodes@example.com>` || m.Header.Get("To") != `"Ops" <ops@example.com>, <storage@example.com>` {
				t.Errorf("%v", m.Header)
			}
			if got := subject(t, m.Message); got != "Node worker-7 geht 🖖" {
				t.Errorf("the subject is %q", got)
			}
			if want := "Hallo,\r\n.\r\n..\r\nNode worker-7 ist weg. Grüße " + strings.Repeat("x", 2000); strings.TrimSuffix(m.body, "\r\n") != want {
				t.Errorf("the body is %q", m.body)
			}
		})
	}
}

func TestARepeatedMailHasTheSameID(t *testing.T) {
	s := newMailServer(t, nil)
	for range 2 { // As after a crash before the output was stored.
		target, _ := targetFor("announce", nil)
		if err := s.plugin(t, nil).Cleanup(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	other, _ := targetFor("finish", nil)
	if err := s.plugin(t, nil).Cleanup(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	mails := s.sent()
	ids := []string{mails[0].Header.Get("Message-Id"), mails[1].Header.Get("Message-Id"), mails[2].Header.Get("Message-Id")}
	if ids[0] != ids[1] || ids[0] == ids[2] {
		t.Errorf("the IDs are %q", ids)
	}
	if mails[0].Header.Get("References") != mails[2].Header.Get("References") {
		t.Error("the mails about a Node are not one conversation")
	}
}

// A kubelet can write annotations of its Node.
func TestAnnotationsCannotInjectHeadersOrRecipients(t *testing.T) {
	s := newMailServer(t, nil)
	for _, value := range []string{"x\r\nBcc: evil@example.net", "x\nBcc: evil@example.net\n\nbody", "x\rBcc: evil@example.net", "=?utf-8?q?x=0D=0ABcc:?= y", strings.Repeat("ä", 3000)} {
		target, _ := targetFor("announce", map[string]string{"note": value})
		if err := s.plugin(t, map[string]any{"subject": "About ${node.annotations['note']}"}).Cleanup(t.Context(), target); err != nil {
			t.Errorf("%q: %v", value, err)
		}
	}
	for _, m := range s.sent() { // The server has checked the headers.
		if text := subject(t, m.Message); strings.ContainsAny(text, "\r\n") || !strings.HasPrefix(text, "About ") || len([]rune(text)) > 200 || len(m.to) != 1 {
			t.Errorf("%q to %v", text, m.to)
		}
	}
	if mails := len(s.sent()); mails != 5 {
		t.Errorf("%d mails were sent", mails)
	}
	for _, value := range []string{"", "a@example.net,b", "x>\r\nRCPT TO:<evil@example.net", `"a b"`, "a <b@example.net>, c", "a%example.net"} {
		target, _ := targetFor("announce", map[string]string{"owner": value})
		err := s.plugin(t, map[string]any{"to": []string{"${node.annotations['owner']}@example.com"}}).Cleanup(t.Context(), target)
		if err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "is not an address") {
			t.Errorf("owner %q: %v", value, err)
		}
	}
	if mails := len(s.sent()); mails != 5 {
		t.Errorf("%d mails were sent", mails)
	}
}

func TestNoMailWithoutEncryption(t *testing.T) {
	without := newMailServer(t, nil)
	without.answers(t, func(command string) string {
		if strings.HasPrefix(command, "EHLO") { // As after an attacker has removed the offer of STARTTLS.
			return "250-mail.example.com\n250 AUTH PLAIN LOGIN"
		}
		return ""
	})
	refuses := newMailServer(t, nil)
	refuses.answers(t, func(command string) string {
		if command == "STARTTLS" {
			return "454 4.7.0 TLS is not available"
		}
		return ""
	})
	unknown := newMailServer(t, nil)
	unknown.roots = otherRoots(t)
	for want, test := range map[string]struct {
		server  *mailServer
		changes map[string]any
	}{
		"does not offer STARTTLS":              {without, nil},
		"454 4.7.0 TLS is not available":       {refuses, nil},
		"certificate signed by unknown":        {unknown, nil},
		"certificate is valid for example.com": {newMailServer(t, nil), map[string]any{"host": "localhost"}},
	} {
		target, _ := targetFor("announce", nil)
		err := test.server.plugin(t, test.changes).Cleanup(t.Context(), target)
		if err == nil || !strings.Contains(err.Error(), want) || cleanup.IsPermanent(err) {
			t.Errorf("%v, want %q", err, want)
		}
		// The server reports each command that it gets too early.
		if commands := test.server.commands(); strings.Contains(commands, "AUTH") || strings.Contains(commands, "MAIL") {
			t.Errorf("%s: the commands were %s", want, commands)
		}
	}
}

func TestAnswersOfTheServer(t *testing.T) {
	s := newMailServer(t, nil)
	for name, test := range map[string]struct {
		command, answer, says string
		permanent             bool
	}{
		"busy":              {"CONNECT", "421 4.3.2 too many connections", "reading the greeting: the server answers 421 4.3.2 too many connections", false},
		"no service":        {"CONNECT", "554 5.3.2 no service here", "554", true},
		"not a mail server": {"CONNECT", "HTTP/1.1 400 Bad Request", "the answer is not from a mail server", false},
		"EHLO refused":      {"EHLO", "550 5.7.1 go away", "sending EHLO: the server answers 550", true},
		"password wrong":    {"AUTH", "535 5.7.8 " + password + " is wrong", "the server answers 535 5.7.8 [secret] is wrong", true},
		"login fails":       {"AUTH", "454 4.7.0 try again", "454", false},
		"sender refused":    {"MAIL", "553 5.7.1 not your address", "sending MAIL: the server answers 553 5.7.1 not your address", true},
		"disk full":         {"MAIL", "452 4.3.1 insufficient storage", "452", false},
		"no such user":      {"RCPT", "550 5.1.1 no such user", "the server refused ops@example.com: sending RCPT: the server answers 550 5.1.1 no such user", true},
		"greylisted":        {"RCPT", "451 4.7.1 greylisted", "ops@example.com: sending RCPT: the server answers 451", false},
		"old, too many":     {"RCPT", "552 too many recipients", "552", false},
		"several lines":     {"RCPT", "550-5.1.1 no such\n550 5.1.1 user", "550 5.1.1 no such 5.1.1 user", true},
		"DATA refused":      {"DATA", "554 5.5.1 no", "sending DATA: the server answers 554", true},
		"spam":              {".", "550 5.7.1 spam", "sending the message: the server answers 550 5.7.1 spam", true},
		"queue full":        {".", "451 4.3.0 later", "451", false},
		"endless line":      {"EHLO", strings.Repeat("2", 2<<20), "the server sent more than 1024 KiB", false},
	} {
		s.answers(t, func(command string) string {
			if strings.HasPrefix(strings.Replace(command, "HELO", "EHLO", 1), test.command) { // net/smtp tries HELO after EHLO.
				return test.answer
			}
			return ""
		})
		target, _ := targetFor("announce", nil)
		err := s.plugin(t, nil).Cleanup(t.Context(), target)
		says := strings.Replace(test.says, "552", "452", 1)
		if err == nil || !strings.Contains(err.Error(), says) || cleanup.IsPermanent(err) != test.permanent {
			t.Errorf("%s: %v, permanent %t", name, err, cleanup.IsPermanent(err))
		}
		if err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error has a secret: %v", name, err)
		}
	}
	if mails := len(s.sent()); mails != 0 {
		t.Errorf("%d mails were sent", mails)
	}
	s.answers(t, nil)
	wrong := stored()
	wrong["password"] = "canary-other"
	plugin, _ := Descriptor(dial, wrong).Bind([]byte(s.optionsFor(nil)))
	target, _ := targetFor("announce", nil)
	if err := plugin.Cleanup(t.Context(), target); err == nil || !cleanup.IsPermanent(err) || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

func TestQUITIsNotNeeded(t *testing.T) {
	s := newMailServer(t, nil)
	s.hang("QUIT")
	target, _ := targetFor("announce", nil)
	if err := s.plugin(t, nil).Cleanup(t.Context(), target); err != nil || len(s.sent()) != 1 {
		t.Error(err)
	}
}

// refusing makes the server refuse these recipients.
func (s *mailServer) refusing(t *testing.T, answers map[string]string) {
	s.answers(t, func(command string) string {
		for address, answer := range answers {
			if strings.Contains(command, "RCPT TO:<"+address) {
				return answer
			}
		}
		return ""
	})
}

var three = map[string]any{"to": []string{"a@example.com", "b@example.com", "c@example.com"}}

func TestTheOthersGetTheMailIfARecipientIsRefused(t *testing.T) {
	s := newMailServer(t, nil)
	s.refusing(t, map[string]string{"b@": "550 5.1.1 no such user", "c@": "450 4.2.2 mailbox full"})
	target, outputs := targetFor("announce", nil)
	err := s.plugin(t, three).Cleanup(t.Context(), target)
	if err == nil || cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "b@example.com: sending RCPT: the server answers 550 5.1.1 no such user; c@example.com: ") || outputs[sentTo] != "a@example.com" {
		t.Errorf("%v, %v", err, outputs)
	}
	s.refusing(t, map[string]string{"b@": "550 5.1.1 no such user"})
	err = s.plugin(t, three).Cleanup(t.Context(), target)
	if err == nil || !cleanup.IsPermanent(err) || outputs[sentTo] != "a@example.com c@example.com" {
		t.Errorf("%v, %v", err, outputs)
	}
	s.answers(t, nil)
	for range 2 { // The second time, every recipient has the mail.
		if err = s.plugin(t, three).Cleanup(t.Context(), target); err != nil || outputs[sentTo] != "a@example.com c@example.com b@example.com" {
			t.Errorf("%v, %v", err, outputs)
		}
	}
	var recipients [][]string
	for _, m := range s.sent() {
		recipients = append(recipients, m.to)
		if m.Header.Get("To") != "<a@example.com>, <b@example.com>, <c@example.com>" || m.Header.Get("Message-Id") != s.sent()[0].Header.Get("Message-Id") {
			t.Errorf("%v", m.Header)
		}
	}
	if fmt.Sprint(recipients) != "[[a@example.com] [c@example.com] [b@example.com]]" {
		t.Errorf("the mail went to %v", recipients)
	}
}

func TestTheRecipientsOfAnOutputFitIntoIt(t *testing.T) {
	var many []string
	for i := range maxRecipients {
		many = append(many, strings.Repeat("x", 60)+fmt.Sprintf("%02d@example.com", i))
	}
	s := newMailServer(t, nil)
	target, outputs := targetFor("announce", nil)
	if err := s.plugin(t, map[string]any{"to": many}).Cleanup(t.Context(), target); err != nil {
		t.Error(err)
	}
	if value := outputs[sentTo]; cleanup.CheckOutput(sentTo, value) != nil || len(value) < 900 || !strings.HasSuffix(value, "@example.com") {
		t.Errorf("%d bytes: %s", len(value), value)
	}
}

func notification(id string) cleanup.Notification {
	return cleanup.Notification{
		Name: "ops", Key: "ops-1", ID: id, Nodes: 2, Title: "Cleanup of 2 nodes: 1 Failed, 1 Started", Text: "Cleanup of 2 nodes: 1 Failed, 1 Started\nFailed: a",
		Log: slog.New(slog.DiscardHandler),
	}
}

func TestAGroupIsOneConversation(t *testing.T) {
	s := newMailServer(t, nil)
	for _, id := range []string{"ops-1/1-aa", "ops-1/2-bb"} {
		// Each with another instance, as after a change of the leader.
		if reference, err := s.notifier(t, nil).Notify(t.Context(), notification(id)); err != nil || reference != "" {
			t.Fatal(reference, err)
		}
	}
	other := notification("ops-2/1-cc")
	other.Key = "ops-2"
	if _, err := s.notifier(t, nil).Notify(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	mails := s.sent()
	header := func(i int, name string) string { return mails[i].Header.Get(name) }
	if header(0, "References") != header(1, "References") || header(0, "In-Reply-To") != header(0, "References") || header(0, "References") == header(2, "References") {
		t.Errorf("%v, %v", mails[0].Header, mails[1].Header)
	}
	if header(0, "Message-Id") == header(1, "Message-Id") || header(0, "Message-Id") == header(0, "References") {
		t.Errorf("%v, %v", mails[0].Header, mails[1].Header)
	}
	if subject(t, mails[0].Message) != "Cleanup of 2 nodes: 1 Failed, 1 Started" || mails[0].body != "Cleanup of 2 nodes: 1 Failed, 1 Started\r\nFailed: a\r\n" {
		t.Errorf("%v: %q", mails[0].Header, mails[0].body)
	}
}

func TestARecipientGetsANotificationOnceIfAnotherIsRefused(t *testing.T) {
	s := newMailServer(t, nil)
	s.refusing(t, map[string]string{"b@": "450 4.2.2 mailbox full"})
	notifier := s.notifier(t, three)
	want := []string{"a@example.com c@example.com", "a@example.com c@example.com", "b@example.com", "a@example.com b@example.com c@example.com"}
	if _, err := notifier.Notify(t.Context(), notification("ops-1/1-aa")); err == nil || cleanup.IsPermanent(err) {
		t.Error(err)
	}
	if _, err := notifier.Notify(t.Context(), notification("ops-1/1-aa")); err == nil {
		t.Error("b was not refused")
	}
	// Another message with the same key is for all of them.
	if _, err := notifier.Notify(t.Context(), notification("ops-1/1-cc")); err == nil {
		t.Error("b was not refused")
	}
	s.answers(t, nil)
	for _, id := range []string{"ops-1/1-cc", "ops-1/2-bb"} {
		if _, err := notifier.Notify(t.Context(), notification(id)); err != nil {
			t.Error(err)
		}
	}
	var got []string
	for _, m := range s.sent() {
		got = append(got, strings.Join(m.to, " "))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the mails went to %q, want %q", got, want)
	}
}

func TestTheHealthCheckSendsNoMail(t *testing.T) {
	s := newMailServer(t, nil)
	if err := s.plugin(t, nil).(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
		t.Error(err)
	}
	if commands := s.commands(); commands != "CONNECT EHLO STARTTLS EHLO AUTH NOOP QUIT" {
		t.Errorf("the commands were %s", commands)
	}
	open := newMailServer(t, func(s *mailServer) { s.auth = "" })
	anonymous := map[string]any{"username": nil, "password": nil}
	if err := open.notifier(t, anonymous).(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
		t.Error(err)
	}
	if err := open.plugin(t, nil).(cleanup.HealthChecker).CheckHealth(t.Context()); err == nil || !strings.Contains(err.Error(), "does not offer authentication") {
		t.Error(err)
	}
	strange := newMailServer(t, func(s *mailServer) { s.auth = "GSSAPI NTLM" })
	if err := strange.plugin(t, nil).(cleanup.HealthChecker).CheckHealth(t.Context()); err == nil || !strings.Contains(err.Error(), "none of the mechanisms PLAIN, LOGIN and CRAM-MD5") {
		t.Error(err)
	}
	closed := newMailServer(t, nil)
	closed.listener.Close()
	if err := closed.plugin(t, nil).(cleanup.HealthChecker).CheckHealth(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("connecting to 127.0.0.1:%d: ", closed.port())) {
		t.Error(err)
	}
}

func TestAProgramWithoutConnectionsPreviews(t *testing.T) {
	s := newMailServer(t, nil)
	plugin, faults := Descriptor(nil, nil).Bind([]byte(s.optionsFor(map[string]any{"to": []string{"${node.labels['team']}@example.com"}})))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	target, _ := targetFor("announce", nil)
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), target)
	if err != nil || len(effects) != 1 || effects[0].Reason != "hands over a mail to storage@example.com: Node worker-7 leaves the cluster" {
		t.Errorf("%v, %v", effects, err)
	}
	if err := plugin.Cleanup(t.Context(), target); err == nil {
		t.Error("a mail was sent")
	}
}

func TestOptions(t *testing.T) {
	s := newMailServer(t, nil)
	for want, changes := range map[string]map[string]any{
		"host: is required":                                         {"host": nil},
		"host: must be a host name":                                 {"host": "mail.example.com:25"},
		"port: 70000 is not a port":                                 {"port": 70000},
		`tls: must be StartTLS or Implicit, not "None"`:             {"tls": "None"},
		"caBundle: contains something other":                        {"caBundle": "x"},
		"password: set both":                                        {"username": nil},
		"password: must be in a Secret":                             {"password": "x"},
		"from: must be one address":                                 {"from": "nodes"},
		"from: must be an address of ASCII characters":              {"from": "knoten@exämple.com"},
		"to: must have 1 to 20":                                     {"to": []string{}},
		"to[0]: must be one address":                                {"to": []string{"a@example.com, b@example.com"}},
		"to[0]: must be an address of ASCII":                        {"to": []string{`"a b"@example.com`}},
		"to[1]: must have a domain without references":              {"to": []string{"a@example.com", "a@${node.labels['x']}.example.com"}},
		"to[0]: must have a domain without":                         {"to": []string{"${node.annotations['mail']}"}},
		"subject: must not be empty":                                {"subject": ""},
		"body: has the unknown reference ${node.nme}; known refere": {"body": "${node.nme}"},
	} {
		_, faults := Descriptor(nil, nil).Bind([]byte(s.optionsFor(changes)))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", changes, err, want)
		}
	}
	for want, o := range map[string]options{"mail:587": {Host: "mail", TLS: startTLS}, "mail:465": {Host: "mail", TLS: implicit}, "[::1]:25": {Host: "::1", Port: 25}} {
		if got := o.address(); got != want {
			t.Errorf("the address is %s, want %s", got, want)
		}
	}
}

// failing makes the server answer these commands in that way until the test ends.
func (s *mailServer) failing(t *testing.T, command, answer string) {
	s.answers(t, func(got string) string {
		if strings.HasPrefix(got, command) {
			return answer
		}
		return ""
	})
}

func TestConformance(t *testing.T) {
	s, values := newMailServer(t, nil), stored()
	plugintest.Run(t, plugintest.Suite{
		Descriptor: Descriptor(dial, values),
		Options:    s.optionsFor(nil),
		Effects:    func(*testing.T) int { return len(s.sent()) },
		Hang:       func(*testing.T, *corev1.Node) <-chan struct{} { return s.hang("DATA") },
		Break:      func(t *testing.T) { s.failing(t, "AUTH", "454 4.7.0 "+password) },
		Refuse:     func(t *testing.T) { s.failing(t, "AUTH", "535 5.7.8 "+password) },
		Unhealthy: func(t *testing.T) {
			values["password"] = "canary-wrong"
			t.Cleanup(func() { values["password"] = password })
		},
		Canary: "canary",
	})
}

func TestNotifierConformance(t *testing.T) {
	s := newMailServer(t, nil)
	plugintest.RunNotifier(t, plugintest.NotifierSuite{
		Descriptor: Descriptor(dial, stored()),
		Options:    s.optionsFor(nil),
		Messages:   func(*testing.T) int { return len(s.sent()) },
		Hang:       func(*testing.T) <-chan struct{} { return s.hang("RCPT") },
		Break:      func(t *testing.T) { s.failing(t, ".", "451 4.3.0 later") },
		Refuse:     func(t *testing.T) { s.failing(t, "MAIL", "550 5.7.1 no") },
		Canary:     "canary",
	})
}
