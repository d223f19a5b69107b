package dns

import (
	"errors"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	const (
		update = `"rfc2136":{"server":"ns1.example.com","keyName":"Key","keySecret":{"secretKeyRef":{"name":"dns","key":"tsig"}}}`
		power  = `"powerDNS":{"url":"https://a","apiKey":{"secretKeyRef":{"name":"dns","key":"key"}}}`
		zone   = `"zone":"Nodes.example.com",`
	)
	for server, want := range map[string]string{"ns1.example.com": "ns1.example.com:53", "ns1:5353": "ns1:5353", "::1": "[::1]:53", "[::1]": "[::1]:53", "[::1]:54": "[::1]:54"} {
		bound, faults := Descriptor(nil, nil, nil).Bind([]byte("{" + zone + strings.Replace(update, "ns1.example.com", server, 1) + "}"))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if o := bound.(*plugin); o.Zone != "nodes.example.com." || o.RFC2136.Server != want || o.RFC2136.KeyName != "key." || o.RFC2136.Algorithm != "hmac-sha256" {
			t.Errorf("%s: %+v, %+v", server, o.options, o.RFC2136)
		}
	}
	for options, want := range map[string]string{
		update:                       `zone: "" is not a valid domain name`,
		`"zone":".",` + update:       `zone: "." is not a valid domain name`,
		`"zone":"a..b",` + update:    `zone: "a..b" is not a valid domain name`,
		`"zone":"a"`:                 "rfc2136: set either rfc2136 or powerDNS",
		zone + update + "," + power:  "rfc2136: set either rfc2136 or powerDNS",
		zone + update + `,"name":""`: "name: must not be empty",
		zone + update + `,"reverseZones":["10.in-addr.arpa","example.com"]`: "reverseZones[1]: must be below in-addr.arpa or ip6.arpa",
		zone + `"rfc2136":{}`:                                                                               "rfc2136.server: must be HOST or HOST:PORT",
		zone + `"rfc2136":{"server":"a","keyName":"a"}`:                                                     "rfc2136.keySecret: is required",
		zone + `"rfc2136":{"server":"a","keyName":"a","keySecret":"x"}`:                                     "rfc2136.keySecret: must be in a Secret",
		zone + `"rfc2136":{"server":"a","keyName":"a b"}`:                                                   `rfc2136.keyName: "a b" is not a valid domain name`,
		zone + `"rfc2136":{"server":"a","algorithm":"hmac-md5"}`:                                            "rfc2136.algorithm: must be one of hmac-sha1",
		zone + `"powerDNS":{"url":"https://a/api/v1","apiKey":{"secretKeyRef":{"name":"dns","key":"key"}}}`: "powerDNS.url: must be the root of PowerDNS",
		zone + `"powerDNS":{"url":"https://a","apiKey":"x"}`:                                                "powerDNS.apiKey: must be in a Secret",
		zone + `"powerDNS":{"url":"https://a","serverID":"a/b"}`:                                            "powerDNS.serverID: must be the name of a server",
		zone + `"powerDNS":{"url":"https://a","caBundle":"x"}`:                                              "powerDNS.caBundle: ",
	} {
		_, faults := Descriptor(nil, nil, nil).Bind([]byte("{" + options + "}"))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}
