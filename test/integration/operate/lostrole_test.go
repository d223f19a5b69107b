package operate_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// hides wants texts on neither stdout nor stderr.
func (r ran) hides(texts ...string) ran {
	r.Helper()
	for _, text := range texts {
		if strings.Contains(r.out+r.errOut, text) {
			r.Errorf("unwanted %q in:\n%s%s", text, r.out, r.errOut)
		}
	}
	return r
}

// Each command names the missing role by the same words, with the one command that restores it.
func TestEachCommandNamesTheMissingRoleOfTheSteps(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}, {name: volumes, plugin: volumes}]\n")
	f.start()
	f.node("worker", nil)
	f.run("plan", "worker").exits(exit.OK).says("Run it:")
	f.run("preflight").exits(exit.OK)
	if err := f.client.RbacV1().ClusterRoles().Delete(t.Context(), api.AgentSteps, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	const fault = "the agent lacks rights: ClusterRole nodecleanup-agent-steps does not exist"
	install := []string{"install", "--agent-url", fmt.Sprintf("https://127.0.0.1:%d", f.port)}
	fix := "kubectl nodecleanup " + strings.Join(install, " ")
	f.eventually("the agent lacks the rights", func(context.Context) (bool, error) {
		return f.quietly("preflight").code == exit.Unhealthy, nil
	})
	f.run("preflight").exits(exit.Unhealthy).says("Cause: "+fault+"\n", "Give the agent the rights that it lacks: "+fix+"\n").hides("apiVersion", "forbidden")
	f.run("plugins", "status").exits(exit.Unhealthy).says("Cause: "+fault+"\n", fix).hides("apiVersion", "forbidden")
	f.run("plan", "worker").exits(exit.Blocked).says("rights of the agent   " + fault + " → " + fix).hides("Run it")
	f.run("cleanup", "worker", "--yes").exits(exit.Blocked).says(fault, "nothing was started", "Fix it: "+fix)
	f.run("status").exits(exit.Unhealthy).says("2 of 2: drain, volumes ("+fault+", ", "Next: "+fix).hides("forbidden", "list pods")
	f.run("check").exits(exit.Unhealthy).says("✗ agent-rights: rights of the agent · "+fault+"\n    fix: "+fix+"\n", "step drain (drain), step volumes (volumes): "+fault+", ").hides("apiVersion", "list pods")

	f.delete("worker")
	f.awaitState("worker", api.Blocked)
	f.run("diagnose", "worker").exits(exit.Unhealthy).says("Cause:    "+fault+"\nFix:      "+fix+"\n").hides("Also:", "forbidden", "list pods")
	f.run(append(install, "--wait")...).exits(exit.OK).says("clusterrole.rbac.authorization.k8s.io/nodecleanup-agent-steps created", "The agent is available").hides("error plugins", "not checked again")
	f.run("status").hides("Plugins", "Agent       FAILED")
	f.eventually("the node is not stuck", func(context.Context) (bool, error) {
		f.quietly("preflight")
		return f.quietly("status").code == exit.OK, nil
	})
	f.quietly("retry", "worker") // The agent may have tried again by itself.
	f.eventually("the node is deleted", func(context.Context) (bool, error) { return f.read("worker") == nil, nil })
}

// An agent that lacks the rights to answer is not waited for.
func TestPreflightDoesNotWaitForAnAgentThatCannotAnswer(t *testing.T) {
	f := setUp(t, "steps: [{name: log, plugin: logger}]\n")
	f.start()
	fix := fmt.Sprintf("Next:  Give the agent its rights: kubectl nodecleanup install --agent-url https://127.0.0.1:%d", f.port)
	var arguments []string
	refused := func(lacks, fix string) {
		t.Helper()
		for _, command := range [][]string{{"preflight"}, {"plugins", "test", "log"}} {
			began := time.Now()
			f.run(append(append(command, "--timeout", "60s"), arguments...)...).exits(exit.Failure).says("it cannot answer: the agent lacks rights: "+lacks+"\n", fix)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("%v takes %s", command, took)
			}
		}
	}
	roles, bindings := f.client.RbacV1().ClusterRoles(), f.client.RbacV1().ClusterRoleBindings()
	role, err := roles.Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range role.Rules {
		role.Rules[i].Verbs = slices.DeleteFunc(role.Rules[i].Verbs, func(verb string) bool { return verb == "bypass" })
	}
	if _, err := roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the agent lacks a right", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("check").out, "the agent lacks rights: bypass nodes"), nil
	})
	refused("bypass nodes", fix+" --force-conflicts\n")
	if err := bindings.Delete(t.Context(), api.Agent, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	arguments = []string{"-n", f.namespace} // Without the binding, several namespaces may hold an install.
	refused("ClusterRoleBinding nodecleanup-agent does not exist", fix+" --force-conflicts\n")
}
