package operate_test

import (
	"bytes"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// skews are how far the clock of an operator's machine is off.
var skews = []time.Duration{0, 20 * time.Second, -20 * time.Second, 10 * time.Minute, -10 * time.Minute}

// runAt runs a command with a wrong local clock.
func (f *fixture) runAt(skew time.Duration, kubeconfig string, arguments ...string) ran {
	f.Helper()
	var out, errOut bytes.Buffer
	environment := command.NewEnvironment(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut})
	environment.Now = func() time.Time { return time.Now().Add(skew) }
	root := cli.New(environment)
	root.SetArgs(append(arguments, "--kubeconfig", kubeconfig))
	err := root.ExecuteContext(f.Context())
	if err != nil {
		errOut.WriteString(err.Error())
	}
	result := ran{fixture: f, out: out.String(), errOut: errOut.String(), code: exit.Code(f.Context(), err)}
	f.Logf("%s off: kubectl nodecleanup %s [exit %d]\n%s%s", skew, strings.Join(arguments, " "), result.code, result.out, result.errOut)
	return result
}

func TestCheckWithAWrongLocalClock(t *testing.T) {
	f := setUp(t, "steps: [{name: log, plugin: logger, options: {message: hello}}]\n")
	stop := f.start()
	f.node("worker", nil)
	f.run("cleanup", "worker", "--wait", "--yes").exits(exit.OK)
	for _, skew := range skews {
		f.runAt(skew, shared.Kubeconfig(), "status").exits(exit.OK).says("leader test", "CA valid")
		f.runAt(skew, shared.Kubeconfig(), "preflight").exits(exit.OK)
		f.runAt(skew, shared.Kubeconfig(), "plugins", "test", "log").exits(exit.OK)
		f.runAt(skew, shared.Kubeconfig(), "history", "--since", "5m").exits(exit.OK).says("worker")
		listed := f.runAt(skew, shared.Kubeconfig(), "nodes", "list").exits(exit.OK)
		if strings.Contains(listed.out, "invalid") || strings.Contains(listed.out, "9m") || strings.Contains(listed.out, "10m") {
			t.Errorf("clock %s off: a node of a moment ago is shown as\n%s", skew, listed.out)
		}
		f.runAt(skew, shared.Kubeconfig(), "bypass", "worker", "--reason", "rebuild", "--for", "5m", "--yes").exits(exit.OK)
		until, err := time.Parse(time.RFC3339, f.read("worker").Annotations[api.AnnotationBypassUntil])
		if left := time.Until(until); err != nil || left < 4*time.Minute || left > 6*time.Minute {
			t.Errorf("clock %s off: the bypass counts for %s, want 5m: %v", skew, left, err)
		}
	}
	stop()
	renewed := metav1.NewMicroTime(time.Now().Add(-time.Minute))
	leases := f.client.CoordinationV1().Leases(f.namespace)
	lease, err := leases.Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lease.Spec = coordinationv1.LeaseSpec{
		HolderIdentity: ptr.To("gone"), LeaseDurationSeconds: ptr.To[int32](3), AcquireTime: &renewed, RenewTime: &renewed,
	}
	if _, err := leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, skew := range skews {
		status := f.runAt(skew, shared.Kubeconfig(), "status").exits(exit.Unhealthy)
		match := regexp.MustCompile(`no leader: gone last renewed the lease (\S+) ago`).FindStringSubmatch(status.out)
		if match == nil {
			t.Fatalf("status says %s", status.out)
		}
		// A minute and what this test took, in whole seconds.
		if ago, err := time.ParseDuration(match[1]); err != nil || ago < 59*time.Second || ago > time.Since(renewed.Time)+time.Second {
			t.Errorf("the lease was renewed %s ago, %v; want %s", match[1], err, time.Since(renewed.Time))
		}
		f.runAt(skew, shared.Kubeconfig(), "preflight").exits(exit.Failure).says("is the leader, so no agent would answer")
	}
}

// The Date header is only an estimate. If it suggests that the Lease has expired, the CLI observes
// whether the Lease is renewed.
func TestCheckWithAWrongServerClock(t *testing.T) {
	f := setUp(t, "steps: [{name: log, plugin: logger, options: {message: hello}}]\n")
	f.start()
	for _, skew := range skews {
		behind := behindClock(t, skew)
		f.runAt(0, behind, "status").exits(exit.OK).says("leader test")
		f.runAt(0, behind, "preflight").exits(exit.OK)
	}
}

// behindClock returns a kubeconfig for the API server as if its clock were off.
func behindClock(t *testing.T, skew time.Duration) string {
	t.Helper()
	forward := shared.Forward(t)
	forward.ModifyResponse = func(response *http.Response) error {
		response.Header.Set("Date", time.Now().Add(skew).UTC().Format(http.TimeFormat))
		return nil
	}
	return cluster.KubeconfigOf(t, forward)
}
