package operate_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// backupService runs the short service in Python that docs/webhook-plugin.md names. Its backups are files in the folder.
func backupService(t *testing.T, token string) (port int, folder string) {
	t.Helper()
	folder = t.TempDir()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "" {
			t.Skip("python3 is not installed")
		}
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), python, "../../../examples/webhook/python/backup.py")
	command.Env = append(os.Environ(), "PORT=0", "TOKEN="+token, "BACKUPS="+folder)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Wait() }) // The test's context has killed it.
	line, err := bufio.NewReader(output).ReadString('\n')
	if _, scanned := fmt.Sscanf(line, "listening on port %d", &port); err != nil || scanned != nil {
		t.Fatalf("the service says %q, %v", line, err)
	}
	return port, folder
}

// A team's service of about thirty lines passes the conformance test, is configured, and does a step: status -w shows
// its progress, an agent that starts in the middle continues, a later step uses its output, and its own message
// explains a failure.
func TestAShortServiceFromEndToEnd(t *testing.T) {
	port, folder := backupService(t, "token-9")
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	f := setUp(t, fmt.Sprintf(`
steps:
- name: backup
  plugin: webhook
  options: {url: "%s", token: {secretKeyRef: {name: backup, key: token}}}
- {name: note, plugin: logger, dependsOn: [backup], options: {message: "backup ${steps.backup.outputs.backup}"}}
`, url))
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("token-9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.run("plugins", "conformance", url, "--token-file", token, "--params", `{"skip": true}`).exits(exit.OK)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "backup"}, StringData: map[string]string{"token": "token-9"}}
	if _, err := f.client.CoreV1().Secrets(f.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stop := f.start()
	f.run("plugins", "test", "backup").exits(exit.OK)
	f.node("worker", nil)
	ctx, cancel := context.WithCancel(t.Context())
	var out growing
	ended := make(chan error, 1)
	go func() {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
		ended <- cli.Execute(ctx, streams, []string{"status", "-w", "--kubeconfig", shared.Kubeconfig()})
	}()
	says := func(text string) {
		t.Helper()
		f.eventually("it says "+text, func(context.Context) (bool, error) { return strings.Contains(out.String(), text), nil })
	}
	says("agent ok")
	f.delete("worker")
	says("backing up worker")
	stop()
	f.start()
	f.eventually("the new agent asks the service again", func(context.Context) (bool, error) {
		node := f.read("worker")
		record, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(t.Context(), api.RunName(node.Name, node.UID), metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return f.decoded(record).Step("backup").Attempts == 2, nil
	})
	finish := func(name, state string) {
		t.Helper()
		uid := f.read(name).UID
		if err := os.WriteFile(filepath.Join(folder, string(uid)+"-backup"), []byte(state), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	finish("worker", "complete")
	f.eventually("the node is deleted", func(context.Context) (bool, error) { return f.read("worker") == nil, nil })
	cancel()
	<-ended
	f.run("history", "worker", "-o", "wide").exits(exit.OK).says("backup=")

	f.node("lost", nil)
	f.delete("lost")
	f.awaitState("lost", api.Running)
	finish("lost", "failed")
	f.awaitState("lost", api.Failed)
	f.run("diagnose", "lost").says("the backup of lost failed")
}
