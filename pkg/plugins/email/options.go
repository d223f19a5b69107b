// Package email is the plugin that sends mails about Nodes through a mail server.
package email

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

//go:embed schema.json
var schema []byte

type options struct {
	// Host is the mail server, without a port. Its certificate must be valid for this name.
	Host string `json:"host" jsonschema:"required"`
	// Port is the port of the mail server. Its default is 587, or 465 with `tls: Implicit`.
	Port int `json:"port" jsonschema:"minimum=1,maximum=65535"`
	// TLS is `StartTLS` if the connection begins without encryption, as on the ports 587 and 25, or `Implicit` if it
	// is encrypted from the beginning, as on port 465. The plugin never sends a mail without encryption.
	TLS encryption `json:"tls" jsonschema:"enum=StartTLS,enum=Implicit"`
	// CABundle is the CAs in PEM that verify the server's certificate. Without it, the CAs of the system verify it.
	CABundle cleanup.Value `json:"caBundle"`
	// Username is the name with which the plugin authenticates to the server, together with `password`. Without them,
	// it does not authenticate.
	Username cleanup.Value `json:"username"`
	// Password is the password of `username`, in a Secret.
	Password cleanup.Value `json:"password"`
	// From is the address of the sender, such as `Node cleanup <nodes@example.com>`.
	From string `json:"from" jsonschema:"required"`
	// To are the addresses of the recipients, at most 20. Each is a template for one address. The domain cannot
	// contain references.
	To []cleanup.Template `json:"to" jsonschema:"required,minItems=1,maxItems=20"`
	// Subject is one line of text, as a template. Its default in a notification is `${notification.title}`.
	Subject cleanup.Template `json:"subject"`
	// Body is plain text, as a template. Its default in a notification is `${notification.text}`.
	Body cleanup.Template `json:"body"`
}

// encryption is how a connection is encrypted.
type encryption string

const (
	startTLS encryption = "StartTLS"
	implicit encryption = "Implicit"
)

// maxRecipients is the maximum number of recipients. A server must accept 100 of them (RFC 5321, 4.5.3.1.8), but
// Cleanup stores them in one output.
const maxRecipients = 20

// hostName is a host name or an IPv4 address (RFC 1123, 2.1), without a port.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if o.Host == "" {
		fault("host", "is required")
	} else if !hostName.MatchString(o.Host) && net.ParseIP(o.Host) == nil {
		fault("host", "must be a host name or an IP address, without a port")
	}
	if o.Port < 0 || o.Port > 65535 {
		fault("port", "%d is not a port", o.Port)
	}
	if o.TLS != startTLS && o.TLS != implicit {
		fault("tls", "must be %s or %s, not %q", startTLS, implicit, o.TLS)
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", "%s", problem)
	}
	if o.Username.Empty() != o.Password.Empty() {
		fault("password", "set both username and password, or neither")
	} else if problem := o.Username.Problem(); !o.Username.Empty() && problem != "" {
		fault("username", "%s", problem)
	}
	if problem := httpclient.SecretProblem(o.Password); problem != "" {
		fault("password", "%s", problem)
	}
	if _, err := parseAddress(o.From); err != nil {
		fault("from", "%v", err)
	}
	if len(o.To) == 0 || len(o.To) > maxRecipients {
		fault("to", "must have 1 to %d addresses", maxRecipients)
	}
	for i, template := range o.To {
		if problem := recipientProblem(template); problem != "" {
			fault(fmt.Sprintf("to[%d]", i), "%s", problem)
		}
	}
	for path, template := range map[string]cleanup.Template{"subject": o.Subject, "body": o.Body} {
		if problem := template.Problem(); problem != "" {
			fault(path, "%s", problem)
		} else if template.Empty() {
			fault(path, "must not be empty")
		}
	}
	return faults
}

// address returns the host and the port of the server.
func (o *options) address() string {
	standard := 587 // RFC 6409
	if o.TLS == implicit {
		standard = 465 // RFC 8314
	}
	return net.JoinHostPort(o.Host, strconv.Itoa(cmp.Or(o.Port, standard)))
}

// Dial connects to a server. See plugins.Dependencies.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Descriptor describes the plugin. It connects by dial, which is nil in a program that calls no other system.
func Descriptor(dial Dial, secrets cleanup.Secrets) cleanup.Descriptor {
	defaults := options{
		TLS:     startTLS,
		Subject: cleanup.MustTemplate("Node ${node.name} leaves the cluster"),
		Body:    cleanup.MustTemplate("Node ${node.name} leaves the cluster.\n\nDeleted by: ${run.deletedBy:-unknown}\n"),
	}
	ofNotification := options{
		TLS:     startTLS,
		Subject: cleanup.MustTemplate("${notification.title}"),
		Body:    cleanup.MustTemplate("${notification.text}"),
	}
	return cleanup.Descriptor{
		Name:           "email",
		Summary:        "sends a mail about the node, or a notification, through a mail server",
		Defaults:       cleanup.Policy{Critical: false, Timeout: time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{server{o, dial, secrets}}, nil
		}),
		BindNotifier: cleanup.NotifierOptions(ofNotification, func(o options) (cleanup.Notifier, error) {
			return &notifier{server: server{o, dial, secrets}, partly: map[string]partly{}}, nil
		}),
	}
}
