package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	measureTime = 10 * time.Second
	maxGrowth   = 16 << 20 // of the resident memory, in bytes
	// maxSlowdown limits the p99 of regular requests during the attack, in parts of their p99
	// without it. A p99 below minLimit is always accepted: it is a millisecond on an idle machine,
	// and any other process makes it ten.
	maxSlowdown = 5
	minLimit    = 25 * time.Millisecond
)

// measureAttack sends regular requests, first alone and then during all attacks. It returns an error if
// the agent's memory grows too much, or if the regular requests become too slow.
func measureAttack(ctx context.Context, _ options) (err error) {
	c, err := cluster.New(ctx, cluster.Options{Name: "bench-attack", Output: os.Stderr})
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := c.Stop(context.WithoutCancel(ctx)); err == nil {
			err = stopErr
		}
	}()
	binary, remove, err := buildAgent(ctx)
	if err != nil {
		return err
	}
	defer remove()
	agent, err := startAgent(ctx, c, binary)
	if err != nil {
		return err
	}
	defer agent.Stop(context.WithoutCancel(ctx))
	body, err := review()
	if err != nil {
		return err
	}
	// The certificate is not part of the measurement.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	regular := func() ([]time.Duration, int64, error) {
		var took []time.Duration
		var most int64
		for end := time.Now().Add(measureTime); time.Now().Before(end); {
			began := time.Now()
			if err := post(ctx, transport, "https://"+agent.webhook+api.MutatePath, body); err != nil {
				return nil, 0, fmt.Errorf("sending a regular request: %w", err)
			}
			took = append(took, time.Since(began))
			resident, err := resident(agent.PID())
			if err != nil {
				return nil, 0, err
			}
			most = max(most, resident)
			pause(ctx, time.Millisecond) // An API server does not send requests in a closed loop either.
		}
		return took, most, nil
	}
	alone, before, err := regular()
	if err != nil {
		return err
	}
	attackCtx, stop := context.WithCancel(ctx)
	defer stop()
	// The attack runs in another process, so that it does not slow down the regular caller.
	self, err := os.Executable()
	if err != nil {
		return err
	}
	attacker := exec.CommandContext(attackCtx, "nice", "-n", "19", self, "-attack", agent.webhook)
	attacker.Stderr = os.Stderr
	if err := attacker.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- attacker.Wait() }()
	cpuBefore, err := processorTime(agent.PID())
	if err != nil {
		return err
	}
	attacked, during, err := regular()
	select {
	case endErr := <-ended:
		return errors.Join(err, fmt.Errorf("attacking the webhook: the attack ended early: %v", endErr))
	default:
	}
	stop() // It kills the attacker.
	<-ended
	if err != nil {
		return err
	}
	cpuAfter, err := processorTime(agent.PID())
	if err != nil {
		return err
	}
	fmt.Printf("\nregular requests, p50 / p99: alone %s / %s, during these concurrent requests %s / %s\n",
		quantile(alone, .5).Round(10*time.Microsecond), quantile(alone, .99).Round(10*time.Microsecond),
		quantile(attacked, .5).Round(10*time.Microsecond), quantile(attacked, .99).Round(10*time.Microsecond))
	for _, one := range attacks {
		fmt.Printf("  %4d %s\n", one.times, one.what)
	}
	fmt.Printf("resident memory %.1f MiB before, %.1f MiB at most during; %.0f%% of a core\n",
		float64(before)/(1<<20), float64(during)/(1<<20), 100*(cpuAfter-cpuBefore).Seconds()/measureTime.Seconds())
	if during-before >= maxGrowth {
		return fmt.Errorf("memory grew by %d MiB; the limit is %d MiB", (during-before)>>20, maxGrowth>>20)
	}
	if limit := max(maxSlowdown*quantile(alone, .99), minLimit); quantile(attacked, .99) > limit {
		return fmt.Errorf("p99 of regular requests during the attack is %s; the limit is %s", quantile(attacked, .99), limit)
	}
	return nil
}

// resident returns the resident memory of a process in bytes. It works only on Linux.
func resident(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	var kilobytes int64
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kilobytes); n == 1 {
			break
		}
	}
	return kilobytes << 10, nil
}

// processorTime returns the CPU time that a process has used.
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	const user, system, tick = 11, 12, 10 * time.Millisecond // proc(5), counted from the state.
	if len(fields) <= system {
		return 0, fmt.Errorf("reading the processor time of process %d: %q", pid, stat)
	}
	ofUser, err := strconv.Atoi(fields[user])
	if err != nil {
		return 0, err
	}
	ofSystem, err := strconv.Atoi(fields[system])
	return time.Duration(ofUser+ofSystem) * tick, err
}
