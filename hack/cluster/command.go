package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// demo is reserved for the cluster of hack/demo.
const demo = "demo"

const usage = `Usage: go run ./hack/cluster COMMAND

  up      [--name NAME] [--kwok] [--scheduler] [--controller-manager]
          start a cluster, or its missing parts; pass stdout to eval; the default NAME is local
  status  show every cluster and the health of its parts
  down    [--name NAME | --all]
          stop and remove a cluster; the cluster of make demo has the name demo
  build   build Kubernetes and print its path
`

// streams separates the result (out) from progress messages.
type streams struct {
	out, progress io.Writer
}

type usageError struct{ error }

func run(ctx context.Context, s streams, args []string) error {
	if len(args) == 0 {
		return usageError{errors.New("a command is missing")}
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var command func() error
	switch args[0] {
	case "up":
		command = up(ctx, s, flags)
	case "down":
		command = down(ctx, s, flags)
	case "status":
		command = func() error { return status(ctx, s) }
	case "build":
		command = func() error { return build(ctx, s) }
	case "help", "-h", "--help":
		fmt.Fprint(s.out, usage)
		return nil
	default:
		return usageError{fmt.Errorf("no command %q", args[0])}
	}
	err := flags.Parse(args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(s.out, usage)
		return nil
	}
	if err != nil {
		return usageError{err}
	}
	if flags.NArg() > 0 {
		return usageError{fmt.Errorf("%s takes no argument %q", args[0], flags.Arg(0))}
	}
	return command()
}

func up(ctx context.Context, s streams, flags *flag.FlagSet) func() error {
	options := cluster.Options{Output: s.progress}
	nameFlag(flags, &options.Name)
	flags.BoolVar(&options.WithKwok, "kwok", false, "play the kubelets of fake nodes")
	flags.BoolVar(&options.WithScheduler, "scheduler", false, "start the scheduler")
	flags.BoolVar(&options.WithControllerManager, "controller-manager", false, "start the controller manager")
	return func() error {
		if options.Name == demo {
			return usageError{fmt.Errorf("starting cluster %s: the name is reserved for make demo, which replaces the cluster. Next: choose another --name", demo)}
		}
		c, err := cluster.Up(ctx, options)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.progress, "API server  %s\nlogs        %s\nkubectl     %s\n", c.URL(), c.Logs(), c.Kubectl())
		_, err = fmt.Fprintf(s.out, "export KUBECONFIG=%s\n", quote(c.Kubeconfig()))
		return err
	}
}

func down(ctx context.Context, s streams, flags *flag.FlagSet) func() error {
	var name string
	nameFlag(flags, &name)
	all := flags.Bool("all", false, "every cluster")
	return func() error {
		names := []string{name}
		if *all {
			var err error
			if names, err = cluster.Names(); err != nil {
				return err
			}
		}
		var errs []error
		for _, name := range names {
			found, err := cluster.Down(ctx, name)
			errs = append(errs, err)
			if err == nil && found {
				fmt.Fprintf(s.progress, "Cluster %s is down\n", name)
			}
			if err == nil && !found {
				fmt.Fprintf(s.progress, "Cluster %s is not up\n", name)
			}
		}
		return errors.Join(errs...)
	}
}

func status(ctx context.Context, s streams) error {
	names, err := cluster.Names()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		fmt.Fprintln(s.progress, "No cluster is up")
		return nil
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CLUSTER\tPROCESS\tPID\tHEALTH")
	for _, name := range names {
		if err := clusterStatus(ctx, table, name); err != nil {
			return err
		}
	}
	return table.Flush()
}

func clusterStatus(ctx context.Context, table io.Writer, name string) error {
	dir, err := cluster.DirOf(name)
	if err != nil {
		return err
	}
	c, err := cluster.Open(dir)
	if err != nil {
		return err
	}
	for _, p := range c.Processes() {
		pid, health := "-", "not running"
		if p.Running() {
			pid, health = fmt.Sprint(p.PID()), "ok"
			if err := p.Healthy(ctx); err != nil {
				health = err.Error()
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, p.Name(), pid, health)
	}
	return nil
}

func build(ctx context.Context, s streams) error {
	binary, err := cluster.Build(ctx, s.progress)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, binary)
	return err
}

func nameFlag(flags *flag.FlagSet, name *string) {
	flags.StringVar(name, "name", "local", "name of the cluster")
}
