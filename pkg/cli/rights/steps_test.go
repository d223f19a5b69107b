package rights

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

func describe(rights []Right) []string {
	var names []string
	for _, right := range rights {
		names = append(names, access.Describe(right))
	}
	slices.Sort(names)
	return names
}

// The default install grants the rights that its config needs, and no others.
func TestInstallGrantsTheRightsOfItsConfig(t *testing.T) {
	objects, err := install.Render(t.Context(), install.Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(objects, func(object *unstructured.Unstructured) bool { return object.GetName() == api.ConfigName })
	text, _, err := unstructured.NestedString(objects[at].Object, "data", api.ConfigKey)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := config.Parse([]byte(text), plugins.Catalog(plugins.Dependencies{}))
	if err != nil {
		t.Fatal(err)
	}
	var needed []Right
	for _, rule := range access.OfConfig(settings)[""] {
		needed = append(needed, access.Of(rule, "")...)
	}
	granted, err := ofRoles(t.Context(), "ns", api.AgentSteps)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := describe(granted), describe(needed); !slices.Equal(got, want) || len(got) < 10 {
		t.Errorf("granted:\n%s\nneeded:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Without a step, the agent can neither read nor change Pods, volumes or controllers.
func TestAgentHasNoRightOfAStep(t *testing.T) {
	always, err := OfAgent(t.Context(), "ns")
	if err != nil {
		t.Fatal(err)
	}
	for _, right := range always {
		if !slices.Contains([]string{"nodes", "configmaps", "events", "secrets", "leases"}, right.Resource) && right.Group != admission {
			t.Errorf("the agent may %s with every config", access.Describe(right))
		}
	}
	if len(always) < 20 {
		t.Errorf("the agent has %d rights: they were not read", len(always))
	}
}
