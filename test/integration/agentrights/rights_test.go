// Package agentrights_test compares the agent's rights with its requests: no right is missing, and
// none is unused.
package agentrights_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	testTimeout = time.Minute
	// user is the agent's service account.
	user = "system:serviceaccount:" + api.Namespace + ":" + api.Agent
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	options := cluster.Options{
		Name: "agentrights", WithControllerManager: true, WithKwok: true,
		APIServerFlags: []string{"--feature-gates=EvictionRequestAPI=true", "--runtime-config=lifecycle.k8s.io/v1alpha1=true"},
	}
	os.Exit(cluster.Main(m, options, func(c *cluster.Cluster) { shared = c }))
}

// bypass is the right that no request of the agent's shows: the policy that keeps the
// finalizer asks for it, see test/integration/admission.
const bypass = "bypass nodes"

// Agents go through all that the agent does, on an API server of today and on one that streams
// no lists, as those before 1.34. If a role lost a right, a request would be forbidden; if it
// had one too many, no request would show it.
func TestAgentUsesExactlyItsRights(t *testing.T) {
	today := setUp(t, shared)
	older := setUp(t, cluster.Start(t, cluster.Options{
		Name: "agentrights-lists", WithControllerManager: true, WithKwok: true, APIServerFlags: []string{"--feature-gates=WatchList=false"},
	}))
	for _, s := range []*scene{today, older} {
		stop := s.run("agent-0")
		s.liveThroughEverything()
		stop()
		s.run("agent-1") // Run records are pruned by an agent that begins to lead.
	}

	wanted := today.rights()
	if len(wanted) < 30 {
		t.Fatalf("the roles have %d rights: they were not read", len(wanted))
	}
	var missing []string
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, testTimeout, true, func(context.Context) (bool, error) {
		used := map[string]bool{bypass: true}
		for _, s := range []*scene{today, older} {
			if err := s.addUsed(used); err != nil {
				return false, err
			}
		}
		missing = nil
		for one := range wanted {
			if !used[one] {
				missing = append(missing, one)
			}
		}
		slices.Sort(missing)
		return len(missing) == 0, nil
	})
	if err != nil {
		t.Errorf("%v; rights that the agent did not use:\n  %s", err, strings.Join(missing, "\n  "))
	}
	t.Logf("%d rights", len(wanted))
}

// An agent whose config needs no right of a step has none, and cleans up nevertheless.
func TestAgentWithoutTheRightsOfSteps(t *testing.T) {
	s := start(t, cluster.Start(t, cluster.Options{Name: "agentrights-none", WithControllerManager: true}))
	s.config = "steps: [{name: log, plugin: logger}]\n"
	s.install()
	for _, verb := range []string{"create pods/eviction", "list pods", "list volumeattachments.storage.k8s.io", "list poddisruptionbudgets.policy", "create jobs.batch", "create jobs.batch in " + jobs, "patch nodes.longhorn.io in " + storage} {
		if s.rights()[verb] {
			t.Errorf("the agent may %s", verb)
		}
	}
	s.run("agent-0")
	s.create("cleaned")
	s.delete("cleaned")
	s.isDeleted("cleaned")
	if err := s.addUsed(map[string]bool{}); err != nil {
		t.Error(err)
	}
}

// The agent writes Events where those about Nodes, its config and its Lease are, and nowhere else.
func TestAgentWritesEventsInTwoNamespaces(t *testing.T) {
	s := setUp(t, cluster.Start(t, cluster.Options{Name: "agentrights-events", WithControllerManager: true}))
	client := kubernetes.NewForConfigOrDie(s.server.RESTConfigFor(user, "system:serviceaccounts", "system:authenticated"))
	write := func(ctx context.Context, namespace string) error {
		_, err := client.CoreV1().Events(namespace).Create(ctx, &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{GenerateName: "probe-"},
			InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: namespace, Name: "probe"},
		}, metav1.CreateOptions{})
		return err
	}
	for _, namespace := range []string{metav1.NamespaceDefault, api.Namespace} {
		s.eventually("the agent writes an Event in namespace "+namespace, func(ctx context.Context) (bool, error) {
			return write(ctx, namespace) == nil, nil // The authorizer follows the roles with a delay.
		})
	}
	if err := write(t.Context(), metav1.NamespaceSystem); !apierrors.IsForbidden(err) {
		t.Errorf("an Event in namespace %s: the answer is %v", metav1.NamespaceSystem, err)
	}
}

// addUsed adds the rights that the agent's requests have shown so far. One that was forbidden
// is an error.
func (s *scene) addUsed(used map[string]bool) error {
	events, err := s.server.AuditLog()
	if err != nil {
		return err
	}
	for _, event := range events {
		if event.User != user || event.Resource == "" {
			continue
		}
		// In a terminating namespace, not the authorizer but admission refuses.
		if event.Code == http.StatusForbidden && event.Namespace != terminating {
			return fmt.Errorf("the agent may not %s %s", event.Verb, event.URI)
		}
		for _, name := range []string{"", event.Name} {
			for _, namespace := range []string{"", event.Namespace} {
				used[right(event.Verb, event.APIGroup, event.Resource, event.Subresource, name, namespace)] = true
			}
		}
	}
	return nil
}

// right names one: "patch nodes/status", "update secrets nodecleanup-webhook-ca in nodecleanup-system".
func right(verb, group, resource, subresource, name, namespace string) string {
	if subresource != "" {
		resource += "/" + subresource
	}
	if group != "" {
		resource += "." + group
	}
	named := strings.TrimSpace(verb + " " + resource + " " + name)
	if namespace != "" {
		named += " in " + namespace
	}
	return named
}

// rights are the rights of the agent's ClusterRole and Roles, as install renders them.
func (s *scene) rights() map[string]bool {
	s.Helper()
	objects, err := install.Render(s.Context(), s.options())
	if err != nil {
		s.Fatal(err)
	}
	all := map[string]bool{}
	for _, object := range objects {
		if !slices.Contains([]string{api.Agent, api.AgentSteps, api.AgentEvents}, object.GetName()) || object.GetKind() != "ClusterRole" && object.GetKind() != "Role" {
			continue
		}
		var role rbacv1.ClusterRole
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
			s.Fatal(err)
		}
		for _, rule := range role.Rules {
			names := rule.ResourceNames
			if len(names) == 0 {
				names = []string{""}
			}
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					for _, name := range names {
						kind, sub, _ := strings.Cut(resource, "/")
						all[right(verb, rule.APIGroups[0], kind, sub, name, object.GetNamespace())] = true
					}
				}
			}
		}
	}
	return all
}

// run runs an agent until the end of the test, or until the returned function is called.
func (s *scene) run(identity string) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	ended := make(chan error, 1)
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + api.Namespace, "system:authenticated"}
	options := agent.Options{
		REST:      s.server.RESTConfigFor(user, groups...),
		Namespace: api.Namespace, Identity: identity, Version: "test", Lease: leader.DefaultTiming(),
		WebhookListen: s.webhook, Catalog: plugins.Catalog, Log: slog.New(slog.NewTextHandler(s.Output(), nil)),
	}
	go func() { ended <- agent.Run(ctx, options) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Errorf("the agent ended with: %v", err)
		}
	})
	s.Cleanup(stop)
	return stop
}

func (s *scene) eventually(what string, holds func(context.Context) (bool, error)) {
	s.Helper()
	if err := wait.PollUntilContextTimeout(s.Context(), 50*time.Millisecond, testTimeout, true, holds); err != nil {
		s.Fatalf("waiting until %s: %v", what, err)
	}
}

func (s *scene) isDeleted(name string) {
	s.Helper()
	s.eventually("node "+name+" is deleted", func(ctx context.Context) (bool, error) {
		_, err := s.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

// own are labels that the config's nodeSelector chooses.
func own() map[string]string { return map[string]string{"pool": "own"} }
