package cli_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// installWithAgent installs with an agent outside the cluster that looks healthy, of a version.
func installWithAgent(t *testing.T, client kubernetes.Interface, version string) {
	t.Helper()
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	status, err := api.EncodeStatus(api.Namespace, &api.AgentStatus{Version: version, Leader: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps(api.Namespace).Create(t.Context(), status, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lead(t, client, api.Namespace, "laptop")
	publishCA(t, client, "agent's CA")
}

// store stores a record, written by another version, for a node.
func store(t *testing.T, client kubernetes.Interface, node string, uid types.UID, data string) {
	t.Helper()
	record := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: api.RunName(node, uid), Labels: map[string]string{api.LabelName: api.LabelNameValue, api.LabelRun: "true", api.LabelNodeUID: string(uid)}},
		Data:       map[string]string{api.RunKey: data},
	}
	if _, err := client.CoreV1().ConfigMaps(api.Namespace).Create(t.Context(), record, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// completions returns the shell completions for a node of the history.
func completions(t *testing.T) string {
	t.Helper()
	return want(t, exit.OK, runOf(t, "__complete", "--kubeconfig", shared.Kubeconfig(), "history", "")).out
}

// runOf runs a command without adding a kubeconfig.
func runOf(t *testing.T, arguments ...string) ran {
	t.Helper()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	err := cli.Execute(t.Context(), streams, arguments)
	return ran{out: out.String(), errOut: errOut.String(), code: exit.Code(t.Context(), err)}
}

// following is a command that runs.
type following struct {
	*testing.T
	lines *bufio.Scanner
	ended chan error
}

// follow runs a command and reads its stderr.
func follow(t *testing.T, arguments ...string) following {
	t.Helper()
	reader, writer := io.Pipe()
	f := following{t, bufio.NewScanner(reader), make(chan error, 1)}
	go func() {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: writer}
		f.ended <- cli.Execute(t.Context(), streams, append(arguments, "--kubeconfig", shared.Kubeconfig()))
		writer.Close()
	}()
	return f
}

// until reads until a text.
func (f following) until(text string) {
	f.Helper()
	for f.lines.Scan() {
		f.Log(f.lines.Text())
		if strings.Contains(f.lines.Text(), text) {
			return
		}
	}
	f.Fatalf("it ended before %q: %v", text, <-f.ended)
}

// end reads the rest and returns the error.
func (f following) end() error {
	f.Helper()
	for f.lines.Scan() {
		f.Log(f.lines.Text())
	}
	return <-f.ended
}

const newerRecord = `{"version":"nodecleanup.io/v1alpha1","node":"worker","nodeUID":"u-i-d","configHash":"c","planHash":"p","state":"Verifying","message":"looking again","verifiedBy":["probe"],` +
	`"startedAt":"2026-01-31T04:00:00Z","steps":[{"name":"drain","plugin":"drain","critical":true,"state":"Succeeded","attempts":1},` +
	`{"name":"power","plugin":"redfish","critical":true,"state":"PoweringOff","attempts":1,"outputs":{"ticket":"7"}},{"name":"tell","plugin":"pager","critical":false,"state":"Pending"}]}`

// An older CLI shows the fields that it knows, and unknown states unchanged. It renames no state,
// and reports no fault for a newer agent's work.
func TestOlderCLIShowsTheRecordsOfANewerAgent(t *testing.T) {
	client := admin(t)
	node := makeNode(t, client, "worker", finalizers(api.Finalizer))
	installWithAgent(t, client, "v9.9.0")
	data := strings.Replace(newerRecord, "u-i-d", string(node.UID), 1)
	store(t, client, node.Name, node.UID, data)
	store(t, client, "gone", "0f0f0f0f-0000-4000-8000-000000000000", strings.NewReplacer("worker", "gone", "u-i-d", "0f0f0f0f-0000-4000-8000-000000000000", "Verifying", "Archived").Replace(newerRecord))
	deleteNode(t, client, "worker")
	setCondition(t, client, "worker", api.CleanupCondition("Verifying", "looking again", metav1.Now()))

	note := "a newer version wrote run record " + api.RunName("worker", node.UID) + ": this CLI does not know state Verifying, state PoweringOff of step power; upgrade it"
	fine := status(t, exit.OK)
	if len(fine.Cleanups) != 1 || fine.Cleanups[0].State != "Verifying" || fine.Cleanups[0].Stuck || fine.Cleanups[0].Step != "2/3 power" || fine.Cleanups[0].Reason != "looking again; "+note {
		t.Errorf("status: %+v", fine.Cleanups)
	}
	var list printer.NodeList
	decode(t, must(t, "nodes", "list", "-o", "json").out, &list)
	if len(list.Nodes) != 1 || list.Nodes[0].State != "Verifying" || list.Nodes[0].Stuck || !strings.Contains(list.Nodes[0].Reason, note) {
		t.Errorf("nodes list: %+v", list.Nodes)
	}
	wantText(t, must(t, "history").out, "Verifying", "1/3", "Archived", "Note: "+note)
	wantText(t, must(t, "history", "worker", "-o", "wide").out, "Verifying", "redfish", "PoweringOff", "note: "+note)
	wantText(t, must(t, "diagnose", "worker").out, "✓ 1/3 drain", "- 2/3 power: PoweringOff (a state of a newer version)", "- 3/3 tell: not started", "Remark:   "+note)
	wantText(t, must(t, "diagnose", "gone").out, "its last cleanup: Archived, looking again", "does not know state Archived")
	wantText(t, completions(t), "gone\nworker\n")
	wantText(t, want(t, exit.Usage, run(t, shared.Kubeconfig(), "bypass", "worker", "--reason", "r")).errOut, "steps not done: tell; in a state of a newer version: power (PoweringOff)")
	wantText(t, want(t, exit.Failure, run(t, shared.Kubeconfig(), "uninstall", "--dry-run")).out, "steps not done: tell; in a state of a newer version: power (PoweringOff)")

	waits := follow(t, "retry", "worker", "--wait")
	waits.until(note)
	waits.until("2/3 power: PoweringOff")
	waits.until("Verifying: looking again")
	if err := releaseAll(t.Context(), client, getNode(t, client, "worker")); err != nil {
		t.Fatal(err)
	}
	err := waits.end()
	var exitError *exit.Error
	if !errors.As(err, &exitError) || exitError.Code != exit.Failure || !strings.Contains(err.Error(), "it is not known whether its cleanup was completed") || !strings.Contains(exitError.Next, "Upgrade the CLI") {
		t.Errorf("the wait for a node that is deleted in state Verifying ended with %v", err)
	}
}

func decode(t *testing.T, data string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), into); err != nil {
		t.Fatal(err)
	}
}

// The records in pkg/api/testdata/older were written by the agent of commit a72c662.
func TestNewerCLIShowsTheRecordsOfAnOlderAgent(t *testing.T) {
	client := admin(t)
	installWithAgent(t, client, "v0.0.0-dev")
	files, err := filepath.Glob("../../../pkg/api/testdata/older/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d records, %v", len(files), err)
	}
	held := map[api.State]bool{api.Running: true, api.Waiting: true, api.Failed: true}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var older struct {
			Node    string    `json:"node"`
			NodeUID types.UID `json:"nodeUID"`
			State   api.State `json:"state"`
			Message string    `json:"message"`
		}
		decode(t, string(data), &older)
		if !held[older.State] {
			store(t, client, older.Node, older.NodeUID, string(data))
			continue
		}
		node := makeNode(t, client, older.Node, finalizers(api.Finalizer))
		store(t, client, node.Name, node.UID, strings.ReplaceAll(string(data), string(older.NodeUID), string(node.UID)))
		deleteNode(t, client, node.Name)
		setCondition(t, client, node.Name, api.CleanupCondition(older.State, older.Message, metav1.Now()))
	}
	cleanups := map[string]printer.CleanupRow{}
	for _, cleanup := range status(t, exit.Unhealthy).Cleanups {
		cleanups[cleanup.Node] = cleanup
	}
	for node, want := range map[string]printer.CleanupRow{
		"failed":  {State: "Failed", Stuck: true, Step: "2/3 storage", Reason: "critical step storage failed once: volume v1 is still attached"},
		"running": {State: "Running", Step: "2/3 storage", Reason: "3 volumes left"},
		"waiting": {State: "Waiting", Step: "2/3 storage", Reason: "step storage failed once and is retried at 2026-11-29T22:02:01Z: volume v1 is still attached"},
	} {
		want.Node, want.Since = node, cleanups[node].Since
		if cleanups[node] != want {
			t.Errorf("status: %+v, want %+v", cleanups[node], want)
		}
	}
	var history printer.History
	decode(t, must(t, "history", "-o", "json").out, &history)
	if len(history.Runs) != len(files) || len(history.Unreadable) > 0 {
		t.Errorf("history has %d of %d runs, unreadable %q", len(history.Runs), len(files), history.Unreadable)
	}
	wide := must(t, "history", "-o", "wide").out
	wantText(t, wide, "requested by jane (unverified)", "bypassed: hardware lost", "volume v1 is still attached", "the node's labels do not match")
	if strings.Contains(wide, "newer version") {
		t.Errorf("the record of an older version is taken for a newer one's:\n%s", wide)
	}
	wantText(t, must(t, "nodes", "list").out, "Failed", "Running", "Waiting")
	wantText(t, want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "diagnose", "failed")).out, "✓ 1/3 tell", "2/3 storage: failed after 1 attempt", "volume v1 is still attached", "- 3/3 gpu: skipped")
	wantText(t, must(t, "diagnose", "succeeded").out, "Node succeeded no longer exists.", "✓ its last cleanup: Succeeded")
	wantText(t, completions(t), "bypassed\ndryrun\nfailed\nrequested\nrunning\nsucceeded\nwaiting\n")

	waits := follow(t, "retry", "running", "--wait")
	waits.until("2/3 storage: 3 volumes left")
	run, err := client.CoreV1().ConfigMaps(api.Namespace).Get(t.Context(), api.RunName("running", getNode(t, client, "running").UID), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	run.Data[api.RunKey] = strings.Replace(run.Data[api.RunKey], `"state": "Running"`, `"state": "Succeeded"`, 1)
	if _, err := client.CoreV1().ConfigMaps(api.Namespace).Update(t.Context(), run, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := releaseAll(t.Context(), client, getNode(t, client, "running")); err != nil {
		t.Fatal(err)
	}
	if err := waits.end(); err != nil {
		t.Errorf("the wait for a node that was cleaned up ended with %v", err)
	}
}
