package dns

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// updater sends queries and dynamic updates to a server, signed with a TSIG key.
type updater struct {
	options updateOptions
	dial    Dial
	secrets cleanup.Secrets
}

// fudge is by how much the clocks may differ, in seconds: the value that RFC 8945, 10 recommends.
const fudge = 300

// records implements server.
func (u updater) records(ctx context.Context, zone, name string, types []string) ([]record, error) {
	var all []record
	for _, kind := range types {
		answer, err := u.ask(ctx, name, dns.StringToType[kind])
		if err != nil {
			return nil, err
		}
		for _, one := range answer.Answer {
			// The answer can also contain a CNAME and the records of its target.
			if dns.CanonicalName(one.Header().Name) != name || one.Header().Rrtype != dns.StringToType[kind] {
				continue
			}
			content := ""
			switch one := one.(type) {
			case *dns.A:
				content = one.A.String()
			case *dns.AAAA:
				content = one.AAAA.String()
			case *dns.PTR:
				content = one.Ptr
			}
			all = append(all, record{name, kind, canonical(kind, content)})
		}
	}
	return all, nil
}

// remove implements server. The server removes exactly the records with this content (RFC 2136, 2.5.4), in one
// transaction.
func (u updater) remove(ctx context.Context, zone string, records []record) error {
	update := new(dns.Msg).SetUpdate(zone)
	for _, one := range records {
		rr, err := dns.NewRR(one.Name + " 0 IN " + one.Type + " " + one.Content)
		if err != nil {
			return cleanup.Permanent(err)
		}
		update.Remove([]dns.RR{rr})
	}
	answer, err := u.exchange(ctx, update)
	if err == nil && answer.Rcode != dns.RcodeSuccess {
		err = refusal(answer)
	}
	return err
}

// check implements server.
func (u updater) check(ctx context.Context, zone string) error {
	answer, err := u.ask(ctx, zone, dns.TypeSOA)
	if err != nil {
		return err
	}
	apex := func(one dns.RR) bool {
		return one.Header().Rrtype == dns.TypeSOA && dns.CanonicalName(one.Header().Name) == zone
	}
	if !slices.ContainsFunc(answer.Answer, apex) {
		return errors.New("it is not the name of a zone of the server")
	}
	return nil
}

// ask sends a query. Only an authoritative answer shows what the zone contains.
func (u updater) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	question := new(dns.Msg).SetQuestion(name, kind)
	question.RecursionDesired = false
	answer, err := u.exchange(ctx, question)
	if err == nil && !answer.Authoritative {
		err = cleanup.Permanent(fmt.Errorf("server %s is not authoritative for %s", u.options.Server, name))
	}
	return answer, err
}

// exchange sends a message on a connection of its own. It returns an answer that says success or that the name does not
// exist.
func (u updater) exchange(ctx context.Context, message *dns.Msg) (*dns.Msg, error) {
	secret, err := u.secret(ctx)
	if err != nil {
		return nil, err
	}
	message.SetTsig(u.options.KeyName, algorithms()[u.options.Algorithm], fudge, time.Now().Unix())
	raw, err := u.dial(ctx, "tcp", u.options.Server)
	if err != nil {
		return nil, fmt.Errorf("connecting to server %s: %w", u.options.Server, err)
	}
	conn := &dns.Conn{Conn: raw, TsigSecret: map[string]string{u.options.KeyName: secret}}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	answer, err := u.transfer(conn, message)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", u.options.Server, err)
	}
	return answer, nil
}

func (u updater) transfer(conn *dns.Conn, message *dns.Msg) (*dns.Msg, error) {
	if err := conn.WriteMsg(message); err != nil {
		return nil, err
	}
	answer, err := conn.ReadMsg()
	if answer == nil {
		return nil, err
	}
	// A server that does not accept the key cannot sign its answer (RFC 8945, 5.3.2).
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		return nil, refusal(answer)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer: %w", err)
	case answer.IsTsig() == nil:
		return nil, errors.New("the answer is not signed, so it may be forged")
	case answer.Id != message.Id || !answer.Response || answer.Opcode != message.Opcode:
		return nil, errors.New("the answer is for another request")
	}
	return answer, nil
}

// secret returns the secret of the key in Base64. No error contains it.
func (u updater) secret(ctx context.Context) (string, error) {
	secret, err := httpclient.Resolve(ctx, u.secrets, u.options.KeySecret)
	if err != nil {
		return "", fmt.Errorf("reading the secret of the TSIG key: %w", err)
	}
	if _, err := base64.StdEncoding.DecodeString(secret); err != nil {
		return "", errors.New("reading the secret of the TSIG key: it is not Base64")
	}
	return secret, nil
}

// rcodeError is the response code of an answer that is no success.
type rcodeError int

// Error returns the name of the code, and what it means (RFC 2136, 2.2).
func (e rcodeError) Error() string {
	text := dns.RcodeToString[int(e)]
	if text == "" {
		text = fmt.Sprintf("response code %d", int(e))
	}
	if meaning := map[rcodeError]string{
		dns.RcodeRefused: "the key may not do this",
		dns.RcodeNotAuth: "the server is not authoritative for the zone, or does not accept the key",
		dns.RcodeNotZone: "the name is not inside the zone",
	}[e]; meaning != "" {
		text += ": " + meaning
	}
	return text
}

// refusal returns the error of an answer that is no success. Only a failure of the server and a difference of the
// clocks can end by themselves.
func refusal(answer *dns.Msg) error {
	err := error(rcodeError(answer.Rcode))
	signature := answer.IsTsig()
	if signature != nil && signature.Error != dns.RcodeSuccess {
		err = fmt.Errorf("%w (TSIG error %s)", err, dns.RcodeToString[int(signature.Error)])
	}
	if answer.Rcode == dns.RcodeServerFailure || signature != nil && signature.Error == dns.RcodeBadTime {
		return err
	}
	return cleanup.Permanent(err)
}
