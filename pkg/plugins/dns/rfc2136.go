package dns

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// updater sends queries and dynamic updates to a server, signed with a TSIG key.
type updater struct {
	options updateOptions
	dial    Dial
	secrets cleanup.Secrets
}

// records implements server.
func (u updater) records(ctx context.Context, zone, name string, kinds []string) ([]record, error) {
	var all []record
	for _, kind := range kinds {
		answer, err := u.ask(ctx, name, recordTypes()[kind])
		if err != nil {
			return nil, err
		}
		for _, one := range answer.records {
			// The answer can also contain a CNAME and the records of its target.
			if one.name == name && one.kind == recordTypes()[kind] {
				all = append(all, record{name, kind, one.content})
			}
		}
	}
	return all, nil
}

// remove implements server, in one transaction.
func (u updater) remove(ctx context.Context, zone string, records []record) error {
	update, err := removal(newID(), zone, records)
	if err != nil {
		return cleanup.Permanent(err)
	}
	answer, err := u.exchange(ctx, update)
	if err == nil && answer.RCode != dnsmessage.RCodeSuccess {
		err = refusal(answer)
	}
	return err
}

// check implements server.
func (u updater) check(ctx context.Context, zone string) error {
	answer, err := u.ask(ctx, zone, dnsmessage.TypeSOA)
	if err != nil {
		return err
	}
	apex := func(one answerRecord) bool { return one.kind == dnsmessage.TypeSOA && one.name == zone }
	if !slices.ContainsFunc(answer.records, apex) {
		return errors.New("it is not the name of a zone of the server")
	}
	return nil
}

// ask sends a query. Only an authoritative answer shows what the zone contains.
func (u updater) ask(ctx context.Context, name string, kind dnsmessage.Type) (answer, error) {
	message, err := question(newID(), name, kind)
	if err != nil {
		return answer{}, cleanup.Permanent(fmt.Errorf("encoding the query for %s: %w", name, err))
	}
	result, err := u.exchange(ctx, message)
	if err == nil && !result.Authoritative {
		err = cleanup.Permanent(fmt.Errorf("server %s is not authoritative for %s", u.options.Server, name))
	}
	return result, err
}

// newID returns the id of a request. The signature, not the id, protects from forged answers.
func newID() uint16 { return uint16(rand.Uint32()) }

// exchange sends a message on a connection of its own. It returns an answer that says success or that the name does not
// exist.
func (u updater) exchange(ctx context.Context, message dnsmessage.Message) (answer, error) {
	secret, err := u.secret(ctx)
	if err != nil {
		return answer{}, err
	}
	packed, err := message.Pack()
	if err != nil {
		return answer{}, cleanup.Permanent(fmt.Errorf("encoding the request: %w", err))
	}
	conn, err := u.dial(ctx, "tcp", u.options.Server)
	if err != nil {
		return answer{}, fmt.Errorf("connecting to server %s: %w", u.options.Server, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	result, err := transfer(conn, packed, tsigKey{u.options.KeyName, u.options.Algorithm, secret})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return answer{}, fmt.Errorf("server %s: %w", u.options.Server, err)
	}
	return result, nil
}

// transfer signs and sends a message, and returns the answer if its signature is right.
func transfer(conn net.Conn, message []byte, key tsigKey) (answer, error) {
	signed, mac := key.sign(message, time.Now())
	// On TCP, the size precedes a message (RFC 1035, 4.2.2).
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(signed))), signed...)); err != nil {
		return answer{}, fmt.Errorf("sending the request: %w", err)
	}
	size := make([]byte, 2)
	if _, err := io.ReadFull(conn, size); err != nil {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	raw := make([]byte, binary.BigEndian.Uint16(size))
	if _, err := io.ReadFull(conn, raw); err != nil {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	result, err := parse(raw)
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	// A server that does not accept the key cannot sign its answer (RFC 8945, 5.3.2).
	if result.RCode != dnsmessage.RCodeSuccess && result.RCode != dnsmessage.RCodeNameError {
		return answer{}, refusal(result)
	}
	if err := key.verify(raw, mac, time.Now()); err != nil {
		return answer{}, err
	}
	var sent dnsmessage.Parser
	request, err := sent.Start(message)
	if err != nil {
		return answer{}, fmt.Errorf("reading the request: %w", err)
	}
	if result.ID != request.ID || !result.Response || result.OpCode != request.OpCode {
		return answer{}, errors.New("the answer is for another request")
	}
	return result, nil
}

// secret returns the secret of the key. No error contains it.
func (u updater) secret(ctx context.Context) ([]byte, error) {
	text, err := httpclient.Resolve(ctx, u.secrets, u.options.KeySecret)
	if err != nil {
		return nil, fmt.Errorf("reading the secret of the TSIG key: %w", err)
	}
	secret, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("reading the secret of the TSIG key: it is not Base64")
	}
	return secret, nil
}

// Response codes of dynamic updates (RFC 2136, 2.2) and of TSIG (RFC 8945, 3).
const (
	codeNotAuth = 9
	codeNotZone = 10
	codeBadTime = 18
)

// codeNames are the names of response codes:
// https://www.iana.org/assignments/dns-parameters/dns-parameters.xhtml#dns-parameters-6.
func codeNames() map[int]string {
	return map[int]string{
		1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET", 8: "NXRRSET", codeNotAuth: "NOTAUTH", codeNotZone: "NOTZONE",
		16: "BADSIG", 17: "BADKEY", codeBadTime: "BADTIME", 22: "BADTRUNC",
	}
}

// rcodeError is the response code of an answer that is no success.
type rcodeError int

// Error returns the name of the code, and what it means.
func (e rcodeError) Error() string {
	text := codeName(int(e))
	if meaning := map[rcodeError]string{
		rcodeError(dnsmessage.RCodeRefused): "the key may not do this",
		codeNotAuth:                         "the server is not authoritative for the zone, or does not accept the key",
		codeNotZone:                         "the name is not inside the zone",
	}[e]; meaning != "" {
		text += ": " + meaning
	}
	return text
}

func codeName(code int) string {
	if name := codeNames()[code]; name != "" {
		return name
	}
	return fmt.Sprintf("response code %d", code)
}

// refusal returns the error of an answer that is no success. Only a failure of the server and a difference of the
// clocks can end by themselves.
func refusal(of answer) error {
	err := error(rcodeError(of.RCode))
	if of.signature != nil && of.signature.code != 0 {
		err = fmt.Errorf("%w (TSIG error %s)", err, codeName(int(of.signature.code)))
	}
	if of.RCode == dnsmessage.RCodeServerFailure || of.signature != nil && of.signature.code == codeBadTime {
		return err
	}
	return cleanup.Permanent(err)
}
