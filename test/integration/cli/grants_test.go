package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// The agent may delete Pods only as long as a step of its config does.
func TestInstallGrantsWhatTheConfigNeeds(t *testing.T) {
	client := admin(t)
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(steps string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"+steps+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	granted := func() string {
		t.Helper()
		role, err := client.RbacV1().ClusterRoles().Get(t.Context(), api.AgentSteps, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return access.Grants{"": role.Rules}.Describe()
	}
	const deletes = "get namespaces, delete pods, list pods, watch pods, create pods/eviction, list poddisruptionbudgets.policy, watch poddisruptionbudgets.policy"
	write("steps: [{name: drain, plugin: drain, options: {api: eviction, forceAfter: 20m}}]")
	must(t, "install", "-n", reused, "--agent-url", "https://127.0.0.1:1", "--config", file)
	if got := granted(); got != deletes {
		t.Errorf("the config that deletes Pods is granted %s", got)
	}

	// A step that runs Jobs needs rights in the namespace of the Jobs.
	roles := func() (found []string) {
		t.Helper()
		list, err := client.RbacV1().Roles(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + api.AgentSteps})
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range list.Items {
			found = append(found, role.Namespace+": "+access.Grants{role.Namespace: role.Rules}.Describe())
		}
		return found
	}
	withJob := "jobs: [{namespace: default, serviceAccounts: [default]}]\nsteps: [{name: run, plugin: job, options: {namespace: default, templateFrom: {configMap: step}}}]"
	write(withJob)
	must(t, "install", "--config", file)
	if got := roles(); len(got) != 1 || !strings.HasPrefix(got[0], "default: get configmaps/step in namespace default, list events") || granted() != "" {
		t.Errorf("the config that runs Jobs is granted %q and %q", got, granted())
	}
	write(strings.ReplaceAll(withJob, "namespace: default", "namespace: "+reused))
	wantText(t, want(t, exit.Failure, run(t, shared.Kubeconfig(), "install", "--config", file)).errOut, "which is that of the agent")
	write("steps: [{name: drain, plugin: drain, options: {api: eviction, forceAfter: 20m}}]")
	must(t, "install", "--config", file)
	if got := roles(); len(got) != 0 || granted() != deletes {
		t.Errorf("the config that runs no Jobs any more is granted %q and %q", got, granted())
	}

	// The config on the cluster counts, also if another client wrote it.
	must(t, "install")
	if got := granted(); got != deletes {
		t.Errorf("after an install that keeps the config, the rights are %s", got)
	}
	configMap, err := client.CoreV1().ConfigMaps(reused).Get(t.Context(), api.ConfigName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	edit := func(text string) {
		t.Helper()
		configMap.Data[api.ConfigKey] = text
		if configMap, err = client.CoreV1().ConfigMaps(reused).Update(t.Context(), configMap, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	edit("steps: nonsense")
	wantText(t, must(t, "install").errOut, "WARNING: the config on the cluster stays")
	if got := granted(); got != deletes {
		t.Errorf("an invalid config changes the rights to %s", got)
	}
	edit("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n" + withJob)
	must(t, "install")
	edit("steps: nonsense")
	must(t, "install")
	if got := roles(); len(got) != 1 {
		t.Errorf("an invalid config changes the rights in namespaces to %q", got)
	}
	edit("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: log, plugin: logger}]\n")
	must(t, "install")
	if got := granted(); got != "" {
		t.Errorf("a config that needs no rights is granted %s", got)
	}

	write("guard: {criticalPods: [{namespaces: [kube-system]}]}\nsteps: [{name: log, plugin: logger}]")
	rendered := must(t, "install", "--config", file, "--dry-run=client", "-o", "yaml").out
	wantText(t, rendered, "- pods\n", "nodecleanup-agent-steps")
	for _, more := range []string{"pods/eviction", "evictionrequests"} {
		if strings.Contains(rendered, more) {
			t.Errorf("the client dry run grants rights on %s", more)
		}
	}
}
