package dns

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

const (
	zoneName    = "nodes.example.com."
	reverseZone = "0.10.in-addr.arpa."
	ip6Zone     = "8.b.d.0.1.0.0.2.ip6.arpa."

	keyName   = "nodecleanup."
	keySecret = "canarySECRET0123456789abcdefghijklmnopqrstu="
	apiKey    = "canary-api-key"
)

// counterpart is a real DNS server with the three zones.
type counterpart struct {
	t *testing.T
	// options are those that name the server, as JSON.
	options string
	// add adds a record with TTL 60, such as "w1.nodes.example.com. A 10.0.0.7".
	add func(t *testing.T, record string)
	// all returns the records of a zone, except SOA and NS, sorted.
	all func(t *testing.T, zone string) []string

	// oneAtATime is held during a request to PowerDNS: SQLite refuses a change during another transaction, and PowerDNS then answers 500.
	oneAtATime sync.Mutex

	mutex   sync.Mutex
	secrets map[string]string
	// instead, if it is not nil, is called for each connection or request. It returns an error, or nil to continue.
	instead func(ctx context.Context) error
	// status, if it is not 0, is what the API of PowerDNS answers.
	status int
}

// Secret implements cleanup.Secrets.
func (c *counterpart) Secret(_ context.Context, key cleanup.SecretKey) (string, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.secrets[key.Key], nil
}

// set changes the counterpart until the test ends.
func (c *counterpart) set(t *testing.T, change func(*counterpart)) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	instead, status, secrets := c.instead, c.status, c.secrets
	c.secrets = map[string]string{"tsig": secrets["tsig"], "key": secrets["key"]}
	change(c)
	t.Cleanup(func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		c.instead, c.status, c.secrets = instead, status, secrets
	})
}

func (c *counterpart) before(ctx context.Context) (status int, err error) {
	c.mutex.Lock()
	instead, status := c.instead, c.status
	c.mutex.Unlock()
	if instead != nil {
		err = instead(ctx)
	}
	return status, err
}

// RoundTrip implements http.RoundTripper.
func (c *counterpart) RoundTrip(request *http.Request) (*http.Response, error) {
	status, err := c.before(request.Context())
	if err != nil {
		return nil, err
	}
	if status != 0 {
		return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"7"}}, Body: io.NopCloser(strings.NewReader(request.Header.Get("X-API-Key"))), Request: request}, nil
	}
	c.oneAtATime.Lock()
	defer c.oneAtATime.Unlock()
	return http.DefaultTransport.RoundTrip(request)
}

func (c *counterpart) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := c.before(ctx); err != nil {
		return nil, err
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (c *counterpart) descriptor() cleanup.Descriptor {
	return Descriptor(&http.Client{Transport: c}, c.dial, c)
}

func newCounterpart(t *testing.T, options string) *counterpart {
	return &counterpart{t: t, options: options, secrets: map[string]string{"tsig": keySecret, "key": apiKey}}
}

// counterparts start the servers by their name.
func counterparts() map[string]func(t *testing.T) *counterpart {
	return map[string]func(t *testing.T) *counterpart{"rfc2136": startKnot, "powerDNS": startPowerDNS}
}

// freePort returns a port that is free for TCP and UDP.
func freePort(t *testing.T) string {
	t.Helper()
	for range 20 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", listener.Addr().String())
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		listener.Close()
		if err == nil {
			packets.Close()
			return port
		}
	}
	t.Fatal("there is no free port")
	return ""
}

// start runs a server until the test ends, and returns when it logs that it is ready.
func start(t *testing.T, ready, program string, arguments ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err != nil {
		t.Skipf("%s is not installed; hack/ci/packages installs it", program)
	}
	command := exec.Command(path, arguments...)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = write, write
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	isReady, ended := make(chan struct{}), make(chan struct{})
	var log bytes.Buffer
	go func() {
		defer close(ended)
		once := sync.OnceFunc(func() { close(isReady) })
		for lines := bufio.NewScanner(read); lines.Scan(); {
			fmt.Fprintln(&log, lines.Text())
			if strings.Contains(lines.Text(), ready) {
				once()
			}
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		<-ended
		if t.Failed() {
			t.Logf("%s:\n%s", program, log.String())
		}
	})
	select {
	case <-isReady:
	case <-ended:
		t.Fatalf("%s ended:\n%s", program, log.String())
	case <-t.Context().Done():
		t.Fatal("the test is out of time")
	}
}

func startKnot(t *testing.T) *counterpart {
	folder, port := t.TempDir(), freePort(t)
	config := fmt.Sprintf(`server:
  rundir: %[1]q
  listen: 127.0.0.1@%[2]s
log:
- target: stderr
  any: info
database:
  storage: %[1]q
key:
- id: nodecleanup
  algorithm: hmac-sha256
  secret: %[3]s
acl:
- id: update
  key: nodecleanup
  action: [update, transfer]
zone:
`, folder, port, keySecret)
	for _, zone := range []string{zoneName, reverseZone, ip6Zone} {
		config += fmt.Sprintf("- domain: %[1]s\n  storage: %[2]q\n  file: %[1]szone\n  acl: update\n", zone, folder)
		write(t, filepath.Join(folder, zone+"zone"), "$ORIGIN "+zone+"\n@ 60 SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60\n@ 60 NS ns1.example.com.\n")
	}
	write(t, filepath.Join(folder, "knot.conf"), config)
	start(t, "server started", "knotd", "-c", filepath.Join(folder, "knot.conf"))
	address := "127.0.0.1:" + port
	c := newCounterpart(t, fmt.Sprintf(`"rfc2136":{"server":%q,"keyName":"nodecleanup","keySecret":{"secretKeyRef":{"name":"dns","key":"tsig"}}}`, address))
	keys := map[string]string{keyName: keySecret}
	c.add = func(t *testing.T, text string) {
		t.Helper()
		one, err := dns.NewRR(strings.Replace(text, " ", " 60 IN ", 1))
		if err != nil {
			t.Fatal(err)
		}
		update := new(dns.Msg).SetUpdate(longest([]string{zoneName, reverseZone, ip6Zone}, one.Header().Name))
		update.Insert([]dns.RR{one})
		update.SetTsig(keyName, dns.HmacSHA256, fudge, testTime().Unix())
		answer, _, err := (&dns.Client{Net: "tcp", TsigSecret: keys}).ExchangeContext(t.Context(), update, address)
		if err != nil || answer.Rcode != dns.RcodeSuccess {
			t.Fatal(err, answer)
		}
	}
	c.all = func(t *testing.T, zone string) []string {
		t.Helper()
		transfer := new(dns.Msg).SetAxfr(zone)
		transfer.SetTsig(keyName, dns.HmacSHA256, fudge, testTime().Unix())
		answers, err := (&dns.Transfer{TsigSecret: keys}).In(transfer, address)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for answer := range answers {
			if answer.Error != nil {
				t.Fatal(answer.Error)
			}
			for _, one := range answer.RR {
				if kind := one.Header().Rrtype; kind != dns.TypeSOA && kind != dns.TypeNS {
					all = append(all, strings.Join(slices.Delete(strings.Fields(one.String()), 1, 3), " "))
				}
			}
		}
		slices.Sort(all)
		return all
	}
	return c
}

func startPowerDNS(t *testing.T) *counterpart {
	folder, port, api := t.TempDir(), freePort(t), freePort(t)
	script, err := os.Open("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
	if err != nil {
		t.Skipf("pdns-backend-sqlite3 is not installed; hack/ci/packages installs it: %v", err)
	}
	defer script.Close()
	create := exec.Command("sqlite3", filepath.Join(folder, "db"))
	create.Stdin = script
	if output, err := create.CombinedOutput(); err != nil {
		t.Skipf("sqlite3 is not installed or failed; hack/ci/packages installs it: %v\n%s", err, output)
	}
	start(t, "ready to distribute questions", "pdns_server", "--no-config", "--launch=gsqlite3", "--gsqlite3-database="+filepath.Join(folder, "db"), "--gsqlite3-pragma-synchronous=0",
		"--api=yes", "--api-key="+apiKey, "--webserver=yes", "--webserver-address=127.0.0.1", "--webserver-port="+api, "--local-address=127.0.0.1", "--local-port="+port,
		"--socket-dir="+folder, "--security-poll-suffix=", "--daemon=no", "--guardian=no")
	root := "http://127.0.0.1:" + api
	c := newCounterpart(t, fmt.Sprintf(`"powerDNS":{"url":%q,"apiKey":{"secretKeyRef":{"name":"dns","key":"key"}}}`, root))
	for _, zone := range []string{zoneName, reverseZone, ip6Zone} {
		callPowerDNS(t, http.MethodPost, root+"/api/v1/servers/localhost/zones", map[string]any{"name": zone, "kind": "Native", "nameservers": []string{"ns1.example.com."}}, nil)
	}
	c.add = func(t *testing.T, text string) {
		t.Helper()
		fields := strings.SplitN(text, " ", 3)
		zone := longest([]string{zoneName, reverseZone, ip6Zone}, fields[0])
		content, disabled := strings.CutSuffix(fields[2], " disabled")
		records := []contentRecord{{content, disabled}}
		for _, one := range c.all(t, zone) {
			if other := strings.SplitN(one, " ", 3); other[0] == fields[0] && other[1] == fields[1] {
				content, disabled := strings.CutSuffix(other[2], " disabled")
				records = append(records, contentRecord{content, disabled})
			}
		}
		callPowerDNS(t, http.MethodPatch, root+"/api/v1/servers/localhost/zones/"+zone, map[string]any{"rrsets": []rrset{{Name: fields[0], Type: fields[1], TTL: 60, ChangeType: "REPLACE", Records: records}}}, nil)
	}
	c.all = func(t *testing.T, name string) []string {
		t.Helper()
		var answer zone
		callPowerDNS(t, http.MethodGet, root+"/api/v1/servers/localhost/zones/"+name, nil, &answer)
		var all []string
		for _, set := range answer.RRSets {
			for _, one := range set.Records {
				if set.Type == "SOA" || set.Type == "NS" {
					continue
				}
				if set.TTL != 60 {
					t.Errorf("the TTL of %s %s is %d", set.Name, set.Type, set.TTL)
				}
				text := set.Name + " " + set.Type + " " + one.Content
				if one.Disabled {
					text += " disabled"
				}
				all = append(all, text)
			}
		}
		slices.Sort(all)
		return all
	}
	return c
}

func callPowerDNS(t *testing.T, method, address string, document, answer any) {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-API-Key", apiKey)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err = io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s: %s, %v", method, address, response.Status, data, err)
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
