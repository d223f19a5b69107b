package logging

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type secretValues map[string]string

func (s secretValues) Secret(_ context.Context, key cleanup.SecretKey) (string, error) {
	return s[key.Key], nil
}

func TestReadSecretsAreRedacted(t *testing.T) {
	values := secretValues{"token": "Bearer canary-91ab", "short": "abc", "key": "-----BEGIN\nMIICanaryLine\n"}
	r := &Redactor{Secrets: values}
	if got := r.Redact("canary-91ab"); got != "canary-91ab" {
		t.Errorf("what nobody handed out is %q", got)
	}
	for key := range values {
		if _, err := r.Secret(t.Context(), cleanup.SecretKey{Name: "s", Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"sent Bearer canary-91ab to x": "sent [secret] to x",
		"canary-91ab":                  "[secret]",
		"Bearer of abc":                "Bearer of abc",
		"line MIICanaryLine.":          "line [secret].",
	} {
		if got := r.Redact(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	for _, next := range []string{"second-value", "third-value", "fourth-value"} {
		values["token"] = next
		if _, err := r.Secret(t.Context(), cleanup.SecretKey{Name: "s", Key: "token"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Redact("canary-91ab second-value fourth-value"); got != "canary-91ab [secret] [secret]" {
		t.Errorf("after three changes: %q", got)
	}
}

func TestLogsContainNoSecret(t *testing.T) {
	r := &Redactor{Secrets: secretValues{"token": "canary-91ab"}}
	if _, err := r.Secret(t.Context(), cleanup.SecretKey{Key: "token"}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := slog.New(r.Handler(slog.NewTextHandler(&out, nil)))
	log.With("bound", "canary-91ab").WithGroup("g").Info("said canary-91ab",
		"err", errors.New("with canary-91ab"), "any", []string{"canary-91ab"}, "n", 3, slog.Group("inner", "text", "canary-91ab"))
	if said := out.String(); strings.Contains(said, "canary") || strings.Count(said, "[secret]") != 5 || !strings.Contains(said, "g.n=3") {
		t.Errorf("logged %s", said)
	}
}
