package dns

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// serve runs a DNS server in this process that does what no real server does, until the test ends.
func serve(t *testing.T, handler func(writer dns.ResponseWriter, request *dns.Msg)) updater {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(handler), TsigSecret: map[string]string{keyName: keySecret}, MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }}
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
	return updater{
		updateOptions{Server: listener.Addr().String(), KeyName: keyName, KeySecret: cleanup.Literal(keySecret), Algorithm: defaultAlgorithm},
		(&net.Dialer{}).DialContext, nil,
	}
}

func TestAnswers(t *testing.T) {
	signed := func(answer *dns.Msg) { answer.SetTsig(keyName, dns.HmacSHA256, fudge, testTime().Unix()) }
	for name, test := range map[string]struct {
		change    func(answer *dns.Msg)
		says      string
		permanent bool
	}{
		"good":             {signed, "", false},
		"no such name":     {func(a *dns.Msg) { a.Rcode = dns.RcodeNameError; signed(a) }, "", false},
		"unsigned":         {func(*dns.Msg) {}, "the answer is not signed, so it may be forged", false},
		"unsigned no name": {func(a *dns.Msg) { a.Rcode = dns.RcodeNameError }, "the answer is not signed, so it may be forged", false},
		"not its zone":     {func(a *dns.Msg) { a.Authoritative = false; signed(a) }, "is not authoritative for w1.nodes.example.com.", true},
		"no zone of it":    {func(a *dns.Msg) { a.Rcode, a.Authoritative = dns.RcodeNameError, false; signed(a) }, "is not authoritative", true},
		"another answer":   {func(a *dns.Msg) { a.Id++; signed(a) }, "the answer is for another request", false},
		"refused":          {func(a *dns.Msg) { a.Rcode = dns.RcodeRefused }, "REFUSED: the key may not do this", true},
		"unknown code":     {func(a *dns.Msg) { a.Rcode = 12 }, "response code 12", true},
		"failure":          {func(a *dns.Msg) { a.Rcode = dns.RcodeServerFailure }, "SERVFAIL", false},
		"clock": {func(a *dns.Msg) {
			a.Rcode = dns.RcodeNotAuth
			signed(a)
			a.IsTsig().Error = dns.RcodeBadTime
		}, "NOTAUTH: the server is not authoritative for the zone, or does not accept the key (TSIG error BADTIME)", false},
		"alias": {func(a *dns.Msg) {
			for _, text := range []string{"w1.nodes.example.com. 60 IN CNAME w2.nodes.example.com.", "w2.nodes.example.com. 60 IN A 10.0.0.7"} {
				record, err := dns.NewRR(text)
				if err != nil {
					t.Error(err)
				}
				a.Answer = append(a.Answer, record)
			}
			signed(a)
		}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			u := serve(t, func(writer dns.ResponseWriter, request *dns.Msg) {
				answer := new(dns.Msg).SetReply(request)
				answer.Authoritative = true
				test.change(answer)
				if err := writer.WriteMsg(answer); err != nil {
					t.Error(err)
				}
			})
			records, err := u.records(t.Context(), zoneName, "w1."+zoneName, []string{"A"})
			text := ""
			if err != nil {
				text = err.Error()
			}
			if len(records) > 0 || cleanup.IsPermanent(err) != test.permanent || (err == nil) != (test.says == "") || !strings.Contains(text, test.says) {
				t.Errorf("%v, %v, permanent %t", records, err, cleanup.IsPermanent(err))
			}
		})
	}
}

func TestAServerThatDoesNotAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	u := serve(t, func(writer dns.ResponseWriter, _ *dns.Msg) {
		writer.Hijack() // Otherwise, the server closes the connection after some seconds.
		cancel()
	})
	if err := u.check(ctx, zoneName); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Error(err)
	}
}

func TestASecretThatIsNotBase64(t *testing.T) {
	u := updater{updateOptions{KeySecret: cleanup.Literal("canary canary")}, nil, nil}
	if err := u.check(t.Context(), zoneName); err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "it is not Base64") {
		t.Error(err)
	}
}
