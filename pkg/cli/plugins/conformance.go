package plugins

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin/conformance"
)

// conformanceOptions are the options of plugins conformance.
type conformanceOptions struct {
	*command.Environment
	command.Output
	command.Timeout
	List                                                 bool
	TokenFile, HMACSecretFile, CAFile, CertFile, KeyFile string
	NodeName, Params                                     string
}

func conform(environment *command.Environment) *cobra.Command {
	o := &conformanceOptions{Environment: environment}
	cmd := &cobra.Command{
		Use:   "conformance URL",
		Short: "Test a service of the plugin webhook against the protocol",
		Long: `Test a service that you write for the plugin webhook against the protocol, for example
that a repeated request does the work once, that wrong credentials are refused, and that
a preview changes nothing. URL is the URL of the service without the path /v1/.

The command begins the cleanup of four nodes that do not exist. Use a test instance, or
params with which the service does no harm. If the service has the ability notify, the
command also sends test messages to it. It needs no cluster, and sends the requests from
this machine. The exit code is 3 when a check failed.`,
		Example: `  kubectl nodecleanup plugins conformance http://localhost:8443 --token-file token

  # With TLS, signatures and the params of the step
  kubectl nodecleanup plugins conformance https://tickets.example.com --ca-file ca.crt \
    --hmac-secret-file secret --params '{"autoApprove": true}'`,
		Args: func(cmd *cobra.Command, arguments []string) error {
			if len(arguments) > 1 || len(arguments) == 0 && !o.List {
				return exit.Usagef("%s takes the URL of one service", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, arguments []string) error {
			if o.List {
				return o.list()
			}
			return o.run(cmd.Context(), arguments[0])
		},
	}
	o.AddFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&o.List, "list", false, "Only list the checks")
	flags.StringVar(&o.TokenFile, "token-file", "", "File with the bearer token of the requests")
	flags.StringVar(&o.HMACSecretFile, "hmac-secret-file", "", "File with the secret that signs the requests")
	flags.StringVar(&o.CAFile, "ca-file", "", "File with the CAs in PEM that verify the service's certificate")
	flags.StringVar(&o.CertFile, "cert-file", "", "File with the client certificate in PEM")
	flags.StringVar(&o.KeyFile, "key-file", "", "File with the key of the client certificate in PEM")
	flags.StringVar(&o.NodeName, "node-name", "conformance", "Name of the nodes in the requests")
	flags.StringVar(&o.Params, "params", "{}", "Params of the step, a JSON object")
	o.AddTimeout(flags, 2*time.Minute)
	return cmd
}

// outcomes in the words of the other checks.
var outcomes = map[conformance.Outcome]printer.Outcome{
	conformance.Passed: printer.Pass, conformance.Warning: printer.Warning, conformance.Failed: printer.Error, conformance.Skipped: printer.Skip,
}

func (o *conformanceOptions) list() error {
	if err := o.Output.Validate(); err != nil {
		return err
	}
	return o.Print(o.Environment, o.view(conformance.Checks()))
}

func (o *conformanceOptions) view(results []conformance.Result) *printer.Checks {
	view := printer.NewChecks(time.Now()) // No cluster is asked for its time.
	for _, result := range results {
		view.Checks = append(view.Checks, printer.Check{
			ID: result.ID, Description: result.Description, Outcome: outcomes[result.Outcome], Detail: result.Detail, Hint: result.Fix,
		})
	}
	view.Passed = !slices.ContainsFunc(results, func(result conformance.Result) bool { return result.Outcome == conformance.Failed })
	return view
}

func (o *conformanceOptions) run(ctx context.Context, service string) error {
	if err := errors.Join(o.ValidateTimeout(), o.Output.Validate()); err != nil {
		return err
	}
	options, err := o.options(service)
	if err != nil {
		return err
	}
	limited, cancel := o.WithTimeout(ctx)
	defer cancel()
	view := o.view(conformance.Run(limited, options))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	if !view.Passed {
		return exit.Quiet(exit.Unhealthy)
	}
	return nil
}

// options reads the files that the flags name.
func (o *conformanceOptions) options(service string) (conformance.Options, error) {
	base, err := httpclient.ParseURL(service)
	switch {
	case err != nil:
		return conformance.Options{}, exit.Usagef("%q %w", service, err)
	case strings.HasSuffix(strings.TrimSuffix(base.Path, "/"), "/"+webhookplugin.Version):
		return conformance.Options{}, exit.Usagef("%q: leave out the path /%s", service, webhookplugin.Version)
	case (o.CertFile == "") != (o.KeyFile == ""):
		return conformance.Options{}, exit.Usagef("--cert-file and --key-file are used together")
	}
	base = &url.URL{Scheme: base.Scheme, Host: base.Host, Path: base.Path}
	var params map[string]any
	if err := json.Unmarshal([]byte(o.Params), &params); err != nil {
		return conformance.Options{}, exit.Usagef("--params is not a JSON object: %w", err)
	}
	token, err := fileOf("token", o.TokenFile)
	if err != nil {
		return conformance.Options{}, err
	}
	secret, err := fileOf("HMAC secret", o.HMACSecretFile)
	if err != nil {
		return conformance.Options{}, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		bundle, err := fileOf("CAs", o.CAFile)
		if err != nil {
			return conformance.Options{}, err
		}
		if config.RootCAs, err = httpclient.ParseBundle(bundle); err != nil {
			return conformance.Options{}, fmt.Errorf("--ca-file %s %w", o.CAFile, err)
		}
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return conformance.Options{}, fmt.Errorf("reading the client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	return conformance.Options{
		URL: base, Client: &http.Client{Transport: transport}, Token: token, HMACSecret: []byte(secret),
		NodeName: o.NodeName, Params: json.RawMessage(o.Params),
	}, nil
}

// fileOf returns the content of a file without the newline at its end, as the agent reads Secrets; ""
// without a path.
func fileOf(what, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the %s: %w", what, err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "", fmt.Errorf("reading the %s: file %s is empty", what, path)
	}
	return text, nil
}
