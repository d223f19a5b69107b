package email

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// plugin sends a mail in a step.
type plugin struct{ server }

// sentTo is the output with the recipients that the server accepted the mail for, separated by spaces.
const sentTo = "sentTo"

// OutputNames implements cleanup.OutputNamer.
func (p *plugin) OutputNames() []string { return []string{sentTo} }

// Cleanup implements cleanup.Plugin. Recipients that an earlier attempt sent the mail to do not get it again.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	m, err := p.message(target.IdempotencyKey, string(target.Node.UID), func(template cleanup.Template, escape func(string) string) (string, error) {
		return template.Expand(target, escape)
	})
	if err != nil {
		return err
	}
	already := strings.Fields(target.Outputs[target.Step][sentTo])
	accepted, err := p.send(ctx, m, already)
	if len(accepted) == 0 {
		return err
	}
	target.Log.Info("the mail server accepted the mail", "server", p.address(), "messageID", m.id, "recipients", len(accepted))
	if failed := target.Output(sentTo, joined(slices.Concat(already, accepted))); failed != nil && err == nil {
		err = failed
	}
	return err
}

// joined returns the recipients as an output. Those that do not fit could get the mail again after a crash.
func joined(recipients []string) string {
	for len(strings.Join(recipients, " ")) > cleanup.MaxOutputValue {
		recipients = recipients[:len(recipients)-1]
	}
	return strings.Join(recipients, " ")
}

// healthTimeout is less than the time that a health check has, so that the error names the server.
const healthTimeout = 8 * time.Second

// CheckHealth implements cleanup.HealthChecker: the server accepts the connection, its certificate is valid, and it
// accepts the credentials. It sends no mail.
func (s *server) CheckHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	opened, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer opened.close()
	if err := opened.Noop(); err != nil {
		return fmt.Errorf("checking %s: %w", s.address(), opened.failed(ctx, "sending NOOP", err))
	}
	return nil
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(_ context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	var to []string
	for _, template := range p.To {
		to = append(to, template.Preview(target))
	}
	return []cleanup.Effect{{
		Action: "Submit",
		Object: cleanup.Object{Kind: "MailServer", Name: p.address()},
		Reason: httpclient.OneLine(fmt.Sprintf("hands over a mail to %s: %s", strings.Join(to, ", "), p.Subject.Preview(target))),
	}}, nil
}
