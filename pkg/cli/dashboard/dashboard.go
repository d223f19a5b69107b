// Package dashboard is the command that serves the web page of pkg/dashboard.
package dashboard

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/dashboard"
)

// Options of the command.
type Options struct {
	*command.Environment

	// Port on 127.0.0.1, 0 for a free one.
	Port int
	// Open: open the page in the browser.
	Open bool
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Show every cleanup on a web page",
		Long: `Show every cleanup on a web page: the nodes that need an operator, why, and what to do;
every node; the timeline of one node; and the history. The command serves the page on
127.0.0.1 until Ctrl-C. The page reads the cluster with your own rights, and changes
nothing.

It prints a login link, which works once, for 5 minutes. Press Enter for a new one.`,
		Example: `  kubectl nodecleanup dashboard --open

  # On another machine, behind ssh -L 8080:127.0.0.1:8080
  kubectl nodecleanup dashboard --port 8080`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	cmd.Flags().IntVar(&o.Port, "port", 0, "Port on 127.0.0.1 (default: a free one)")
	cmd.Flags().BoolVar(&o.Open, "open", false, "Open the page in the browser")
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	if o.Port < 0 || o.Port > 65535 {
		return exit.Usagef("--port %d is not a port: use 1 to 65535, or 0 for a free one", o.Port)
	}
	return nil
}

// Run serves the page until ctx ends.
func (o *Options) Run(ctx context.Context) error {
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	name, server, err := o.Cluster.Names()
	if err != nil {
		return err
	}
	user, _ := command.WhoAmI(ctx, clients.Typed).(string)
	page, err := dashboard.Listen(ctx, o.Port, &dashboard.Cluster{
		Client: clients.Typed, Namespace: namespace, Context: name, Server: server, User: user, Now: o.ServerTime,
	}, o.Now)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(o.Out, "The dashboard of context %s is on http://%s until Ctrl-C. Log in once, within 5 minutes:\n%s\n", name, page.Address(), page.Link()); err != nil {
		return err
	}
	if o.Open {
		removeFile, err := openBrowser(ctx, page.Link())
		if err != nil {
			o.Say("The browser cannot be opened: %v. Open the link above.", err)
		} else {
			defer removeFile()
		}
	}
	if o.Interactive {
		go o.newLinks(page)
	}
	return page.Serve(ctx)
}

// newLinks prints a new login link for every line of the input. It ends with the input, or with the process.
func (o *Options) newLinks(page *dashboard.Server) {
	lines := bufio.NewReader(o.In)
	for {
		if _, err := lines.ReadString('\n'); err != nil {
			return
		}
		if _, err := io.WriteString(o.Out, page.Link()+"\n"); err != nil {
			return
		}
	}
}
