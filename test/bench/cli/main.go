// Command cli measures the CLI as a process, against an API server with many objects. It fails if a
// limit is exceeded.
//
//	go run ./test/bench/cli [-nodes 5000]
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// measured is a command with its number of runs and its limits. The time is the median of all
// runs, the memory the maximum.
type measured struct {
	arguments []string
	runs      int
	limit     time.Duration
	memory    int64 // MiB
	// code is the expected exit code, and the output must contain the text: a command that fails
	// is fast, too.
	code int
	says string
}

const (
	largestBinary = 45 << 20
	helpLimit     = 50 * time.Millisecond
	statusLimit   = 2 * time.Second
	statusMemory  = 150
)

func main() {
	nodes := flag.Int("nodes", 5000, "number of nodes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx, *nodes); err != nil {
		fmt.Fprintln(os.Stderr, "measuring the command line:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, nodes int) (err error) {
	folder, err := os.MkdirTemp("", "bench-cli-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	program := filepath.Join(folder, "kubectl-nodecleanup")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", program, "./cmd/kubectl-nodecleanup")
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the CLI: %w", err)
	}
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	c, err := cluster.New(ctx, cluster.Options{Name: "bench-cli", Output: os.Stderr})
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := c.Stop(context.WithoutCancel(ctx)); err == nil {
			err = stopErr
		}
	}()
	began := time.Now()
	if err := fill(ctx, c.RESTConfig(), nodes); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "created %d nodes in %s\n", nodes, time.Since(began).Round(time.Second))
	began = time.Now()
	if err := record(ctx, c.RESTConfig(), nodes); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "installed, and wrote %d run records in %s\n", records, time.Since(began).Round(time.Second))
	failed := info.Size() > largestBinary
	fmt.Printf("%-28s %10.1f MiB\n", "binary", float64(info.Size())/(1<<20))
	for _, one := range []measured{
		{[]string{"--help"}, 20, helpLimit, 0, exit.OK, "Set up:"},
		// Unhealthy only because no agent runs.
		{[]string{"status"}, 5, statusLimit, statusMemory, exit.Unhealthy, fmt.Sprintf("%d protected", nodes)},
		{[]string{"nodes", "list"}, 5, statusLimit, statusMemory, exit.OK, "node-00000"},
	} {
		over, err := measure(ctx, program, c.Kubeconfig(), one)
		if err != nil {
			return err
		}
		failed = failed || over
	}
	if failed {
		return errors.New("a limit was exceeded")
	}
	return nil
}

func measure(ctx context.Context, program, kubeconfig string, one measured) (over bool, err error) {
	var took []time.Duration
	var most int64
	for range one.runs {
		command := exec.CommandContext(ctx, program, append(one.arguments, "--kubeconfig", kubeconfig)...)
		var out, errOut bytes.Buffer
		command.Stdout, command.Stderr = &out, &errOut
		began := time.Now()
		if err := command.Run(); err != nil && command.ProcessState == nil {
			return false, err
		}
		took = append(took, time.Since(began))
		if code := command.ProcessState.ExitCode(); code != one.code || !strings.Contains(out.String(), one.says) {
			return false, fmt.Errorf("%v exits with %d, want %d and %q: %.2000s%.2000s", one.arguments, code, one.code, one.says, out.String(), errOut.String())
		}
		if usage, is := command.ProcessState.SysUsage().(*syscall.Rusage); is {
			most = max(most, usage.Maxrss>>10)
		}
	}
	slices.Sort(took)
	median := took[len(took)/2]
	over = median > one.limit || one.memory > 0 && most > one.memory
	fmt.Printf("%-28s %10s  %5d MiB  (limit %s", fmt.Sprint(one.arguments), median.Round(time.Millisecond), most, one.limit)
	if one.memory > 0 {
		fmt.Printf(", %d MiB", one.memory)
	}
	fmt.Println(")")
	return over, nil
}
