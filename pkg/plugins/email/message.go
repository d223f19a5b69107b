package email

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

const (
	// maxSubject is the maximum length of a subject, in characters.
	maxSubject = 200
	// maxBody is the maximum length of a body, in bytes. The annotations of a Node can have 256 KiB.
	maxBody = 64 << 10
)

// message is one mail.
type message struct {
	from *mail.Address
	to   []*mail.Address
	// id is the same for each repetition of the message, and for no other one. thread is the same for all messages of
	// one conversation. Both are as messageID returns them.
	id, thread    string
	subject, body string
}

// message expands the templates. The keys become the ID of the message and of its conversation.
func (o *options) message(key, conversation string, expand func(cleanup.Template, func(string) string) (string, error)) (message, error) {
	from, err := parseAddress(o.From)
	if err != nil {
		return message{}, cleanup.Permanent(fmt.Errorf("from %w", err)) // Validate has refused it.
	}
	to, err := o.recipients(expand)
	if err != nil {
		return message{}, err
	}
	subject, err := expand(o.Subject, nil)
	if err != nil {
		return message{}, fmt.Errorf("expanding the subject: %w", err)
	}
	body, err := expand(o.Body, nil)
	if err != nil {
		return message{}, fmt.Errorf("expanding the body: %w", err)
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	return message{from: from, to: to, id: messageID(key, domain), thread: messageID(conversation, domain), subject: subject, body: body}, nil
}

// messageID returns an ID of a message (RFC 5322, 3.6.4). It is the same for the same key. A key is hashed, because it
// can contain characters that an ID cannot.
func messageID(key, domain string) string {
	sum := sha256.Sum256([]byte(key))
	return "<nodecleanup." + hex.EncodeToString(sum[:16]) + "@" + domain + ">"
}

// encode returns the message in the format of RFC 5322, with ASCII characters only. No line has more than 998
// characters (2.1.1).
func (m message) encode(now time.Time) []byte {
	var data bytes.Buffer
	var to []string
	for _, address := range m.to {
		to = append(to, address.String())
	}
	for _, field := range [][2]string{
		{"Date", now.Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"From", m.from.String()},
		{"To", strings.Join(to, ",\r\n ")},
		{"Message-ID", m.id},
		// No mail has the ID of the conversation. Mail programs also group mails that refer to the same unknown one
		// (RFC 5256, 3, REFERENCES), so the first mail needs no state, and none of them is lost with it.
		{"In-Reply-To", m.thread},
		{"References", m.thread},
		{"Subject", encodeSubject(m.subject)},
		{"Auto-Submitted", "auto-generated"}, // No reply of vacation programs: RFC 3834, 5.
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&data, "%s: %s\r\n", field[0], field[1])
	}
	data.WriteString("\r\n")
	body := quotedprintable.NewWriter(&data)
	for _, write := range []func() error{
		func() error { _, err := body.Write([]byte(cut(m.body))); return err },
		body.Close,
	} {
		if err := write(); err != nil {
			panic(fmt.Sprintf("writing to memory cannot fail: %v", err))
		}
	}
	return data.Bytes()
}

// encodeSubject returns a value of the header Subject. Line breaks and other control characters of a label cannot
// begin another header, and "=?" cannot begin an encoded word.
func encodeSubject(subject string) string {
	subject = strings.ReplaceAll(httpclient.OneLine(subject), "=?", "= ?")
	if characters := []rune(subject); len(characters) > maxSubject {
		subject = string(characters[:maxSubject-1]) + "…"
	}
	return strings.ReplaceAll(mime.QEncoding.Encode("utf-8", subject), "?= =?", "?=\r\n =?")
}

// cut returns at most maxBody bytes of valid UTF-8.
func cut(body string) string {
	body = strings.ToValidUTF8(body, "�")
	if len(body) <= maxBody {
		return body
	}
	const end = "…"
	limit := maxBody - len(end)
	for !utf8.RuneStart(body[limit]) {
		limit--
	}
	return body[:limit] + end
}
