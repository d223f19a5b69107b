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
	harmTurn  = 10 * time.Second
	memoryHas = 16 << 20 // bytes that memory may grow by
	// slower is the maximum slowdown of the slowest of a hundred regular requests during an
	// attack. tolerable applies if it is longer: on an idle machine they take a millisecond, and
	// any other process makes it ten.
	slower    = 5
	tolerable = 25 * time.Millisecond
)

// measureHarm has an honest caller ask while others do each of the attacks. It fails when
// the agent's memory grows too much, or when the honest caller waits for too long.
func measureHarm(ctx context.Context, _ options) (err error) {
	c, err := cluster.New(ctx, cluster.Options{Name: "bench-harm", Output: os.Stderr})
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
	honest := func() ([]time.Duration, int64, error) {
		var took []time.Duration
		var most int64
		for end := time.Now().Add(harmTurn); time.Now().Before(end); {
			began := time.Now()
			if err := post(ctx, transport, "https://"+agent.webhook+api.MutatePath, body); err != nil {
				return nil, 0, fmt.Errorf("an honest request: %w", err)
			}
			took = append(took, time.Since(began))
			resident, err := resident(agent.PID())
			if err != nil {
				return nil, 0, err
			}
			most = max(most, resident)
			pause(ctx, time.Millisecond) // An API server does not ask in a closed loop either.
		}
		return took, most, nil
	}
	alone, before, err := honest()
	if err != nil {
		return err
	}
	harm, stop := context.WithCancel(ctx)
	defer stop()
	// The attack runs in another process, so that it does not slow down the regular caller.
	self, err := os.Executable()
	if err != nil {
		return err
	}
	attacker := exec.CommandContext(harm, "nice", "-n", "19", self, "-attack", agent.webhook)
	attacker.Stderr = os.Stderr
	if err := attacker.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- attacker.Wait() }()
	busy, err := processorTime(agent.PID())
	if err != nil {
		return err
	}
	among, during, err := honest()
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
	after, err := processorTime(agent.PID())
	if err != nil {
		return err
	}
	fmt.Printf("\nhonest requests, p50 / p99: alone %s / %s, among those below at once %s / %s\n",
		quantile(alone, .5).Round(10*time.Microsecond), quantile(alone, .99).Round(10*time.Microsecond),
		quantile(among, .5).Round(10*time.Microsecond), quantile(among, .99).Round(10*time.Microsecond))
	for _, one := range attacks {
		fmt.Printf("  %4d %s\n", one.times, one.what)
	}
	fmt.Printf("resident memory %.1f MiB before, %.1f MiB at most during; %.0f%% of a core\n",
		float64(before)/(1<<20), float64(during)/(1<<20), 100*(after-busy).Seconds()/harmTurn.Seconds())
	if during-before >= memoryHas {
		return fmt.Errorf("memory grew by %d MiB, and must by less than %d", (during-before)>>20, memoryHas>>20)
	}
	if limit := max(slower*quantile(alone, .99), tolerable); quantile(among, .99) > limit {
		return fmt.Errorf("the slowest of a hundred honest requests took %s, and must %s", quantile(among, .99), limit)
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

// processorTime returns how long a process has been at work.
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
