package dns

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

func keyOf(t *testing.T, algorithm string) tsigKey {
	t.Helper()
	secret, err := base64.StdEncoding.DecodeString(keySecret)
	if err != nil {
		t.Fatal(err)
	}
	return tsigKey{keyName, algorithm, secret}
}

func packed(t *testing.T, message *dns.Msg) []byte {
	t.Helper()
	data, err := message.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// github.com/miekg/dns is another implementation of TSIG: it accepts our signatures, and we accept its signatures.
func TestSignaturesOfAnotherImplementation(t *testing.T) {
	for _, algorithm := range slices.Sorted(maps.Keys(algorithms())) {
		t.Run(algorithm, func(t *testing.T) {
			key, now := keyOf(t, algorithm), testTime()
			request := new(dns.Msg).SetQuestion("w1."+zoneName, dns.TypeA)
			signed, mac := key.sign(packed(t, request), now)
			if err := dns.TsigVerify(bytes.Clone(signed), keySecret, "", false); err != nil {
				t.Errorf("our signature: %v", err)
			}
			for name, answer := range answersTo(t, request) {
				answer.SetTsig(keyName, algorithm+".", fudge, now.Unix())
				data, _, err := dns.TsigGenerate(answer, keySecret, hex.EncodeToString(mac), false)
				if err != nil {
					t.Fatal(err)
				}
				if err := key.verify(data, mac, now); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// answersTo returns answers with records in different sections, and with compressed names.
func answersTo(t *testing.T, request *dns.Msg) map[string]*dns.Msg {
	t.Helper()
	rr := func(text string) dns.RR {
		one, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		return one
	}
	full := new(dns.Msg).SetReply(request)
	full.Compress = true
	full.Answer = []dns.RR{rr("w1.nodes.example.com. 60 IN A 10.0.0.7"), rr(`w1.nodes.example.com. 60 IN TXT "a"`)}
	full.Ns = []dns.RR{rr(`nodes.example.com. 60 IN SOA ns1.example.com. host\.master.example.com. 1 2 3 4 5`)}
	full.Extra = []dns.RR{rr("ns1.example.com. 60 IN A 10.0.0.1")}
	return map[string]*dns.Msg{"full": full, "empty": new(dns.Msg).SetReply(request)}
}

func TestAnswersWithWrongSignatures(t *testing.T) {
	key, now := keyOf(t, defaultAlgorithm), testTime()
	request := new(dns.Msg).SetQuestion("w1."+zoneName, dns.TypeA)
	_, mac := key.sign(packed(t, request), now)
	// signed returns an answer that the server signs after a change, and with that secret for that MAC of a request.
	signed := func(change func(*dns.TSIG), secret string, requestMAC []byte) []byte {
		answer := answersTo(t, request)["full"]
		answer.SetTsig(keyName, dns.HmacSHA256, fudge, now.Unix())
		change(answer.IsTsig())
		data, _, err := dns.TsigGenerate(answer, secret, hex.EncodeToString(requestMAC), false)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	same := func(*dns.TSIG) {}
	good := signed(same, keySecret, mac)
	if err := key.verify(good, mac, now); err != nil {
		t.Fatal(err)
	}
	start, err := lastRecord(good)
	if err != nil {
		t.Fatal(err)
	}
	record := good[start:]
	// edited returns the good answer after a change of its bytes.
	edited := func(change func(data []byte) []byte) []byte { return change(bytes.Clone(good)) }
	macStart := bytes.Index(good, []byte{0, 32}) + 2 // After its size.
	for name, test := range map[string]struct {
		answer []byte
		says   string
	}{
		"other secret":       {signed(same, "AAAA", mac), "the signature of the answer is wrong"},
		"other request":      {signed(same, keySecret, bytes.Repeat([]byte{1}, 32)), "the signature of the answer is wrong"},
		"no request":         {signed(same, keySecret, nil), "the signature of the answer is wrong"},
		"other key":          {signed(func(s *dns.TSIG) { s.Hdr.Name = "other." }, keySecret, mac), "with another key or algorithm"},
		"weaker algorithm":   {signed(func(s *dns.TSIG) { s.Algorithm = dns.HmacSHA1 }, keySecret, mac), "with another key or algorithm"},
		"changed record":     {edited(func(d []byte) []byte { d[bytes.Index(d, []byte{10, 0, 0, 7})+3] = 8; return d }), "the signature of the answer is wrong"},
		"changed flags":      {edited(func(d []byte) []byte { d[2] ^= 4; return d }), "the signature of the answer is wrong"},
		"changed MAC":        {edited(func(d []byte) []byte { d[macStart+31] ^= 1; return d }), "the signature of the answer is wrong"},
		"changed time":       {edited(func(d []byte) []byte { d[macStart-5] ^= 1; return d }), "the signature of the answer is wrong"},
		"record after it":    {edited(func(d []byte) []byte { addAdditional(d, 1); return append(d, record...) }), "malformed"},
		"bytes after it":     {edited(func(d []byte) []byte { return append(d, 0) }), "malformed"},
		"class of the TSIG":  {edited(func(d []byte) []byte { d[start+len(wireName(keyName))+3] = 1; return d }), "malformed"},
		"without the record": {edited(func(d []byte) []byte { addAdditional(d, -1); return d[:start] }), errUnsigned.Error()},
		"truncated MAC": {edited(func(d []byte) []byte {
			binary.BigEndian.PutUint16(d[macStart-2:], 16)
			size := start + len(wireName(keyName)) + 8
			binary.BigEndian.PutUint16(d[size:], binary.BigEndian.Uint16(d[size:])-16)
			return slices.Delete(d, macStart+16, macStart+32)
		}), "the signature of the answer is wrong"},
	} {
		if err := key.verify(test.answer, mac, now); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
	}
	for _, seconds := range []int{-fudge - 1, -fudge, fudge, fudge + 1} {
		err := key.verify(good, mac, now.Add(time.Duration(seconds)*time.Second))
		if (err == nil) != (max(seconds, -seconds) <= fudge) {
			t.Errorf("%d seconds later: %v", seconds, err)
		}
	}
}

// No part of an answer makes the plugin panic or read beyond it.
func TestTruncatedAnswers(t *testing.T) {
	key := keyOf(t, defaultAlgorithm)
	request := new(dns.Msg).SetQuestion("w1."+zoneName, dns.TypeA)
	good, mac := key.sign(packed(t, answersTo(t, request)["full"]), testTime())
	for size := range good {
		if _, err := parse(good[:size]); err == nil {
			t.Errorf("%d of %d bytes are an answer", size, len(good))
		}
		if err := key.verify(good[:size], mac, testTime()); err == nil {
			t.Errorf("%d of %d bytes have a signature", size, len(good))
		}
	}
}

func TestContentsThatAreNoNames(t *testing.T) {
	answer := new(dns.Msg).SetQuestion("7.0.0.10.in-addr.arpa.", dns.TypePTR)
	for _, name := range []string{`w\.1.example.com.`, `w\0101.example.com.`, "W1.example.com."} {
		answer.Answer = append(answer.Answer, &dns.PTR{Hdr: dns.RR_Header{Name: "7.0.0.10.In-addr.arpa.", Rrtype: dns.TypePTR, Class: dns.ClassINET}, Ptr: name})
	}
	parsed, err := parse(packed(t, answer))
	if err != nil {
		t.Fatal(err)
	}
	want := []answerRecord{}
	for _, content := range []string{"a name with a dot in a label", `"w\n1.example.com."`, "w1.example.com."} {
		want = append(want, answerRecord{"7.0.0.10.in-addr.arpa.", dnsmessage.TypePTR, content})
	}
	if !slices.Equal(parsed.records, want) {
		t.Errorf("got %v, want %v", parsed.records, want)
	}
}
