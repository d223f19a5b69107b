package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

func discovery(ctx context.Context, s *suite) finding {
	const fix = `answer GET /v1/ with {"versions":["v1"],"abilities":["cleanup"],"name":"my-service"}`
	received, err := s.send(ctx, http.MethodGet, webhookplugin.DiscoveryPath, nil, nil)
	if err != nil {
		s.unreachable = true
		return failed("start the service, and check the URL and its certificate", "%v", err)
	}
	if s.discovery, err = decode[webhookplugin.Discovery]("GET "+webhookplugin.DiscoveryPath, received); err != nil {
		return failed(s.credentialsFix(received, fix), "%v", err)
	}
	if !s.discovery.Can(webhookplugin.AbilityCleanup) {
		return failed(fix, "abilities %q lacks %q", s.discovery.Abilities, webhookplugin.AbilityCleanup)
	}
	for _, ability := range s.discovery.Abilities {
		if !slices.Contains([]webhookplugin.Ability{webhookplugin.AbilityCleanup, webhookplugin.AbilityPreview, webhookplugin.AbilityVerify, webhookplugin.AbilityNotify}, ability) {
			return warning("remove it, or upgrade this CLI", "version v1 has no ability %q", ability)
		}
	}
	if s.discovery.Name == "" {
		return failed(fix, "name is missing")
	}
	return passed("%s: %s", strings.TrimSpace(s.discovery.Name+" "+s.discovery.Version), join(s.discovery.Abilities))
}

func join(abilities []webhookplugin.Ability) string {
	var names []string
	for _, ability := range abilities {
		names = append(names, string(ability))
	}
	return strings.Join(names, ", ")
}

func health(ctx context.Context, s *suite) finding {
	received, err := s.send(ctx, http.MethodGet, webhookplugin.HealthPath, nil, nil)
	switch {
	case err != nil:
		return failed("start the service", "%v", err)
	case received.status/100 != 2:
		return failed(s.credentialsFix(received, "answer GET /v1/health with status 200 while the service can work"), "GET /v1/health answers %s", received.says())
	}
	return passed("")
}

// credentialsFix returns what to do if the service refuses the credentials of the test, otherwise fix.
func (s *suite) credentialsFix(received response, fix string) string {
	switch {
	case received.status != http.StatusUnauthorized && received.status != http.StatusForbidden:
		return fix
	case s.Token == "" && len(s.HMACSecret) == 0:
		return "send the credentials of the service: --token-file, --hmac-secret-file, or --cert-file and --key-file"
	}
	return "check that the service and this test have the same credentials"
}

func authentication(ctx context.Context, s *suite) finding {
	if s.Token == "" && len(s.HMACSecret) == 0 {
		return skipped("neither a token nor an HMAC secret is given")
	}
	const fix = "answer with status 401 before anything else"
	// Requests that would be malformed: a service that takes them does no work.
	wrong := map[string]func(*http.Request){}
	if s.Token != "" {
		wrong["without a token"] = func(request *http.Request) { request.Header.Del("Authorization") }
		wrong["with a wrong token"] = func(request *http.Request) { request.Header.Set("Authorization", "Bearer "+s.Token+"x") }
	}
	if len(s.HMACSecret) > 0 {
		sign := func(request *http.Request, secret []byte, off time.Duration) {
			webhookplugin.Sign(request, []byte("{}"), secret, s.Now().Add(off))
		}
		wrong["without a signature"] = func(request *http.Request) { request.Header.Del(webhookplugin.SignatureHeader) }
		wrong["with a signature by another secret"] = func(request *http.Request) { sign(request, []byte("another secret"), 0) }
		wrong["with a signature of an hour ago"] = func(request *http.Request) { sign(request, s.HMACSecret, -time.Hour) }
		wrong["with a signature of the future"] = func(request *http.Request) { sign(request, s.HMACSecret, time.Hour) }
		wrong["with the signature of another body"] = func(request *http.Request) {
			webhookplugin.Sign(request, []byte(`{"other":true}`), s.HMACSecret, s.Now())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		received, err := s.send(ctx, http.MethodPost, webhookplugin.CleanupPath, []byte("{}"), wrong[name])
		if err != nil {
			return failed(fix, "a request %s: %v", name, err)
		}
		if received.status != http.StatusUnauthorized && received.status != http.StatusForbidden {
			return failed(fix, "a request %s is answered with %s", name, received.says())
		}
	}
	return passed("%d kinds of wrong credentials", len(wrong))
}

func malformed(ctx context.Context, s *suite) finding {
	valid, err := json.Marshal(s.request)
	if err != nil {
		return failed("", "%v", err)
	}
	without := func(field string) []byte {
		var fields map[string]any
		if err := json.Unmarshal(valid, &fields); err != nil {
			panic(err) // It was encoded above.
		}
		delete(fields, field)
		data, err := json.Marshal(fields)
		if err != nil {
			panic(err) // It was decoded above.
		}
		return data
	}
	for _, test := range []struct {
		what, method, path string
		body               []byte
	}{
		{"a body that is not JSON", http.MethodPost, webhookplugin.CleanupPath, []byte("node=conformance")},
		{"an empty body", http.MethodPost, webhookplugin.CleanupPath, nil},
		{"a JSON array", http.MethodPost, webhookplugin.CleanupPath, []byte("[]")},
		{"a request without idempotencyKey", http.MethodPost, webhookplugin.CleanupPath, without("idempotencyKey")},
		{"a request without node", http.MethodPost, webhookplugin.CleanupPath, without("node")},
		{"a GET of /v1/cleanup", http.MethodGet, webhookplugin.CleanupPath, nil},
		{"an unknown path", http.MethodPost, "/v1/no-such-path", valid},
		{"a request of 2 MiB", http.MethodPost, webhookplugin.CleanupPath, bytes.Repeat([]byte(" "), 2*webhookplugin.MaxRequest)},
	} {
		received, err := s.send(ctx, test.method, test.path, test.body, nil)
		large := len(test.body) > webhookplugin.MaxRequest
		switch {
		case err != nil && ctx.Err() == nil && large:
			continue // It was cut off before it was read.
		case err != nil:
			return failed("answer with a status from 400 to 499, also if the body cannot be decoded", "%s: %v", test.what, err)
		case received.status/100 != 4 && !(large && received.status == http.StatusNotImplemented) && !(test.method == http.MethodGet && received.status == http.StatusNotImplemented):
			return failed("answer with a status from 400 to 499", "%s is answered with %s", test.what, received.says())
		}
	}
	return passed("")
}

var imperative = regexp.MustCompile(`^[A-Z][A-Za-z]*$`)

func preview(ctx context.Context, s *suite) finding {
	if s.discovery.Can(webhookplugin.AbilityVerify) {
		var err error
		if s.undone, err = s.verifies(ctx); err != nil {
			return failed("", "before the preview: %v", err)
		}
	}
	if !s.discovery.Can(webhookplugin.AbilityPreview) {
		return skipped("the service does not have this ability")
	}
	first, err := post[webhookplugin.PreviewAnswer](ctx, s, webhookplugin.PreviewPath, s.request)
	if err != nil {
		return failed(`answer with {"effects":[{"action":"Delete","object":{"kind":"Ticket","name":"CHG-1"}}]}`, "%v", err)
	}
	for _, effect := range first.Effects {
		if !imperative.MatchString(effect.Action) {
			return failed(`use an imperative with a capital letter, such as "Delete"`, "the action of an effect is %q", effect.Action)
		}
	}
	second, err := post[webhookplugin.PreviewAnswer](ctx, s, webhookplugin.PreviewPath, s.request)
	switch {
	case err != nil:
		return failed("", "the second time: %v", err)
	case !reflect.DeepEqual(first, second):
		return warning("a preview must change nothing", "a second preview has other effects")
	}
	if s.discovery.Can(webhookplugin.AbilityVerify) {
		if undone, err := s.verifies(ctx); err != nil || (undone == "") != (s.undone == "") {
			return failed("a preview must change nothing", "before the preview, verify says %q, and afterwards %q, %v", s.undone, undone, err)
		}
	}
	return passed("effects: %d", len(first.Effects))
}

func (s *suite) verifies(ctx context.Context) (undone string, err error) {
	answer, err := post[webhookplugin.VerifyAnswer](ctx, s, webhookplugin.VerifyPath, s.request)
	if err != nil {
		return "", err
	}
	return *answer.Undone, nil
}

func clean(ctx context.Context, s *suite) finding {
	began := s.Now()
	s.tryUnknownField(ctx)
	answer, polls, err := s.clean(ctx, s.request)
	switch {
	case err != nil && ctx.Err() != nil:
		return failed("give it more time with --timeout, or --params with which the work ends", "%v", err)
	case err != nil:
		return failed("", "%v", err)
	}
	for name, value := range answer.Outputs {
		if err := cleanup.CheckOutput(name, value); err != nil {
			return failed("", "%v", err)
		}
	}
	if len(answer.Outputs) > cleanup.MaxOutputs {
		return failed("", "the answer has %d outputs, the maximum is %d", len(answer.Outputs), cleanup.MaxOutputs)
	}
	s.done = &answer
	const unknownField = 1 // The request of tryUnknownField has the same key.
	return passed("requests: %d within %s, outputs: %s", unknownField+polls, s.Now().Sub(began).Round(time.Millisecond), listed(answer.Outputs))
}

func listed(outputs map[string]string) string {
	if len(outputs) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(outputs)), ", ")
}

// clean sends a request until the work is done, as the agent does. Outputs of earlier answers are in
// the result.
func (s *suite) clean(ctx context.Context, request webhookplugin.Request) (answer webhookplugin.Answer, polls int, err error) {
	outputs, began := map[string]string{}, s.Now()
	for {
		polls++
		if answer, err = post[webhookplugin.Answer](ctx, s, webhookplugin.CleanupPath, request); err != nil {
			return answer, polls, err
		}
		maps.Copy(outputs, answer.Outputs)
		switch answer.State {
		case webhookplugin.StateDone:
			answer.Outputs = outputs
			return answer, polls, nil
		case webhookplugin.StateFailed:
			return answer, polls, fmt.Errorf("the service failed: %s", shorten(answer.Message))
		}
		if answer.Message == "" {
			s.fault("an answer with InProgress has no message")
		}
		request.Outputs = map[string]map[string]string{request.Step: outputs}
		interval := webhookplugin.DefaultPollInterval
		if answer.RetryAfterSeconds > 0 {
			interval = min(time.Duration(min(answer.RetryAfterSeconds, 3600))*time.Second, webhookplugin.MaxPollInterval)
		}
		select {
		case <-ctx.Done():
			return answer, polls, fmt.Errorf("the work is still in progress after %s (%s)", s.Now().Sub(began).Round(time.Second), shorten(answer.Message))
		case <-s.After(interval):
		}
	}
}

// tryUnknownField sends the first request of the cleanup with a field that this version does not have.
func (s *suite) tryUnknownField(ctx context.Context) {
	data, err := json.Marshal(s.request)
	if err != nil {
		s.strict = err.Error()
		return
	}
	data = append([]byte(`{"fieldOfALaterVersion":{"a":[1]},`), data[1:]...)
	received, err := s.send(ctx, http.MethodPost, webhookplugin.CleanupPath, data, nil)
	if err != nil {
		s.strict = err.Error()
	} else if _, err := decode[webhookplugin.Answer]("POST "+webhookplugin.CleanupPath, received); err != nil {
		s.strict = err.Error()
	}
}

func unknownFields(_ context.Context, s *suite) finding {
	switch {
	case s.done == nil:
		return skipped("the cleanup did not end")
	case s.strict != "":
		return failed("ignore fields that the service does not know: later agents send more of them", "with an unknown field: %s", s.strict)
	}
	return passed("")
}

func idempotency(ctx context.Context, s *suite) finding {
	const fix = "store what was done by idempotencyKey, and answer the same key with the same outputs"
	if s.done == nil {
		return skipped("the cleanup did not end")
	}
	again := s.request
	again.Attempt = 2
	answer, err := post[webhookplugin.Answer](ctx, s, webhookplugin.CleanupPath, again)
	switch {
	case err != nil:
		return failed(fix, "the same key again: %v", err)
	case answer.State != webhookplugin.StateDone:
		return failed(fix, "the same key again is answered with %s: %s", answer.State, shorten(answer.Message))
	}
	for name, value := range answer.Outputs {
		if before, is := s.done.Outputs[name]; !is || before != value {
			return failed(fix, "output %s is %q the first time and %q the second time: was the work done twice?", name, before, value)
		}
	}
	return passed("")
}

func verify(ctx context.Context, s *suite) finding {
	switch {
	case !s.discovery.Can(webhookplugin.AbilityVerify):
		return skipped("the service does not have this ability")
	case s.done == nil:
		return skipped("the cleanup did not end")
	}
	undone, err := s.verifies(ctx)
	switch {
	case err != nil:
		return failed(`answer with {"undone":""}, or with what is no longer done`, "%v", err)
	case undone != "":
		return failed(`answer with {"undone":""} as long as the work holds`, "after the cleanup it says: %s", shorten(undone))
	case s.undone == "":
		return warning("compare with the state that the cleanup brings about", "it also says so before the cleanup, so it may prove nothing")
	}
	return passed("before the cleanup: %s", shorten(s.undone))
}

func concurrency(ctx context.Context, s *suite) finding {
	if s.done == nil {
		return skipped("the cleanup did not end")
	}
	errs := make([]error, 3)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { _, _, errs[i] = s.clean(ctx, s.newRequest(fmt.Sprintf("%s-%d", s.NodeName, i+1))) })
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			return failed("keep the state of each idempotencyKey apart", "node %s-%d: %v", s.NodeName, i+1, err)
		}
	}
	return passed("%d nodes", len(errs))
}

// slow is the time after which an agent with default options gives up.
const slow = 10 * time.Second

func answers(_ context.Context, s *suite) finding {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch {
	case len(s.faults) > 0:
		return failed("", "%s", shorten(strings.Join(s.faults, "; ")))
	case s.slowest > slow:
		return failed("answer InProgress if the work takes longer", "an answer took %s; the agent waits for %s by default", s.slowest.Round(time.Millisecond), slow)
	case s.largest == 0:
		return skipped("there was no answer")
	}
	return passed("at most %d bytes and %s", s.largest, s.slowest.Round(time.Millisecond))
}
