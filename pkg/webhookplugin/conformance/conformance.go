// Package conformance tests a service of the plugin webhook over HTTP: it checks the contract of package
// webhookplugin. Authors of services call it as `kubectl nodecleanup plugins conformance URL`, or Run in
// a test.
package conformance

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// Options of a test.
type Options struct {
	// URL of the service, without the path /v1/.
	URL *url.URL
	// Client has the TLS settings; nil for http.DefaultClient.
	Client *http.Client
	// Token and HMACSecret authenticate the requests, unless they are empty.
	Token      string
	HMACSecret []byte
	// NodeName is the name of the Nodes in the requests. Each has a UID of its own, and those that are
	// cleaned up at the same time have a suffix. It is "conformance" if it is empty.
	NodeName string
	// Params are the params in the requests, a JSON object; {} if it is empty.
	Params json.RawMessage
	// Now returns the current time, and After waits; nil for those of package time.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
}

// Outcome of a check.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "Passed"
	Warning Outcome = "Warning"
	Failed  Outcome = "Failed"
	// Skipped: the service does not have the ability, or an earlier check failed.
	Skipped Outcome = "Skipped"
)

// Result of a check.
type Result struct {
	// ID does not change its meaning between versions.
	ID          string
	Description string
	Outcome     Outcome
	// Detail is what was found, and Fix what to change in the service.
	Detail, Fix string
}

type check struct {
	id, description string
	run             func(context.Context, *suite) finding
}

// finding is the result of a check without its name.
type finding struct {
	outcome     Outcome
	detail, fix string
}

func passed(format string, arguments ...any) finding {
	return finding{outcome: Passed, detail: fmt.Sprintf(format, arguments...)}
}

func skipped(format string, arguments ...any) finding {
	return finding{outcome: Skipped, detail: fmt.Sprintf(format, arguments...)}
}

func failed(fix, format string, arguments ...any) finding {
	return finding{Failed, fmt.Sprintf(format, arguments...), fix}
}

func warning(fix, format string, arguments ...any) finding {
	return finding{Warning, fmt.Sprintf(format, arguments...), fix}
}

// checks in the order in which they run. Later ones use what earlier ones found.
func checks() []check {
	return []check{
		{"discovery", "GET /v1/ lists the version and the abilities", discovery},
		{"health", "GET /v1/health reports a healthy service", health},
		{"authentication", "requests without valid credentials are refused", authentication},
		{"malformed", "malformed requests are refused", malformed},
		{"preview", "preview lists effects and changes nothing", preview},
		{"cleanup", "cleanup ends with Done", clean},
		{"unknown-fields", "unknown fields of a request are ignored", unknownFields},
		{"idempotency", "a repeated request has the same result", idempotency},
		{"verify", "verify confirms the finished work", verify},
		{"concurrency", "several nodes are cleaned up at the same time", concurrency},
		{"notify", "a notification is accepted, also a second time", notify},
		{"answers", "answers are small, quick and without secrets", answers},
	}
}

// Checks returns the checks without running them.
func Checks() []Result {
	var all []Result
	for _, one := range checks() {
		all = append(all, Result{ID: one.id, Description: one.description})
	}
	return all
}

// Run runs every check. It begins the cleanup of a few Nodes that do not exist. A check that ctx
// interrupts fails.
func Run(ctx context.Context, options Options) []Result {
	s := newSuite(options)
	var results []Result
	for _, one := range checks() {
		found := skipped("the service cannot be reached")
		if !s.unreachable {
			found = one.run(ctx, s)
		}
		results = append(results, Result{ID: one.id, Description: one.description, Outcome: found.outcome, Detail: found.detail, Fix: found.fix})
	}
	return results
}

// suite is one test of a service.
type suite struct {
	Options
	discovery webhookplugin.Discovery
	// unreachable: there was no answer to the first request.
	unreachable bool
	// request is the one that was previewed and cleaned up.
	request webhookplugin.Request
	// done is the answer that ended the cleanup; nil if there is none.
	done *webhookplugin.Answer
	// strict is why the service refused a request with an unknown field; empty if it did not.
	strict string
	// undone is what the service reported as undone before the cleanup.
	undone string

	mutex sync.Mutex
	// faults of all answers, by kind, without duplicates.
	faults []string
	// slowest is the longest time of an answer, and largest the most bytes.
	slowest time.Duration
	largest int
}

func newSuite(options Options) *suite {
	if options.Client == nil {
		options.Client = http.DefaultClient
	}
	client := *options.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	options.Client = &client
	if options.NodeName == "" {
		options.NodeName = "conformance"
	}
	if len(options.Params) == 0 {
		options.Params = json.RawMessage("{}")
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.After == nil {
		options.After = time.After
	}
	s := &suite{Options: options}
	s.request = s.newRequest(options.NodeName)
	return s
}

// newRequest returns a request about a Node that the service has never seen.
func (s *suite) newRequest(name string) webhookplugin.Request {
	now := s.Now().UTC().Truncate(time.Second)
	uid := "conformance-" + rand.Text()
	return webhookplugin.Request{
		IdempotencyKey: uid + "/conformance", Attempt: 1, Began: now, Step: "conformance", DeletedBy: "conformance",
		Node: webhookplugin.Node{
			Name: name, UID: uid, CreatedAt: now.Add(-time.Hour), DeletedAt: &now,
			Labels:    map[string]string{"kubernetes.io/hostname": name},
			Addresses: []webhookplugin.Address{{Type: "InternalIP", Address: "192.0.2.1"}},
		},
		Outputs: map[string]map[string]string{}, Params: s.Params,
	}
}

// fault records a fault of an answer.
func (s *suite) fault(format string, arguments ...any) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if text := fmt.Sprintf(format, arguments...); !slices.Contains(s.faults, text) {
		s.faults = append(s.faults, text)
	}
}
