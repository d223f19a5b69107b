package rights

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// roleObjects are the roles and bindings of an install, without those of the named role.
func roleObjects(without string) []runtime.Object {
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: api.Agent, Namespace: "ns"}}
	own := metav1.ObjectMeta{Name: api.Agent, Namespace: "ns"}
	objects := []runtime.Object{&rbacv1.Role{ObjectMeta: own}, &rbacv1.RoleBinding{ObjectMeta: own, Subjects: subjects}}
	for _, name := range []string{api.Agent, api.AgentSteps} {
		if name != without {
			of := metav1.ObjectMeta{Name: name}
			objects = append(objects, &rbacv1.ClusterRole{ObjectMeta: of}, &rbacv1.ClusterRoleBinding{ObjectMeta: of, Subjects: subjects, RoleRef: rbacv1.RoleRef{Name: name}})
		}
	}
	return objects
}

func TestReport(t *testing.T) {
	settings, err := config.Parse([]byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: volumes, plugin: volumes}, {name: log, plugin: logger}]\n"), plugins.Catalog(plugins.Dependencies{}))
	if err != nil {
		t.Fatal(err)
	}
	reported := &api.AgentStatus{
		Plugins:       []api.PluginHealth{{Step: "volumes", MissingRules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}}}},
		Notifications: []api.NotificationHealth{{Notification: "ops", MissingRules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"list"}}}}},
	}
	for name, test := range map[string]struct {
		without string
		// grants are the roles of the snapshot that are known to be missing.
		grants []string
		// lacks are what the agent may not do; "*" means that the caller may not ask.
		lacks  string
		status *api.AgentStatus
		want   string
		// manifest: there is one.
		manifest bool
		// ofLog is the fault of a plan with step log alone.
		ofLog string
	}{
		"complete":   {want: ""},
		"own rights": {lacks: "bypass nodes", want: "the agent lacks rights: bypass nodes", ofLog: "the agent lacks rights: bypass nodes"},
		"rights of a step": {
			lacks: "get persistentvolumeclaims", want: "the agent lacks rights: step volumes: get persistentvolumeclaims", manifest: true,
		},
		"role of the steps": {
			without: api.AgentSteps, lacks: "get persistentvolumeclaims", want: "the agent lacks rights: ClusterRole nodecleanup-agent-steps does not exist",
		},
		"role of the steps, rights from another role": {without: api.AgentSteps},
		"own role": {
			without: api.Agent, grants: []string{"ClusterRole nodecleanup-agent does not exist"}, lacks: "bypass nodes",
			want: "the agent lacks rights: ClusterRole nodecleanup-agent does not exist", ofLog: "the agent lacks rights: ClusterRole nodecleanup-agent does not exist",
		},
		"as reported": {
			lacks: "*", status: reported, want: "the agent lacks rights: step volumes: list pods; notification ops: list nodes", manifest: true,
		},
		"nothing is reported": {lacks: "*"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(roleObjects(test.without)...)
			client.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
				if test.lacks == "*" {
					return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "subjectaccessreviews"}, "", errors.New("no"))
				}
				review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
				review.Status.Allowed = access.Describe(*review.Spec.ResourceAttributes) != test.lacks
				return true, review, nil
			})
			snapshot := &inspect.Snapshot{Namespace: "ns", Deployment: &appsv1.Deployment{}, MissingGrants: test.grants, Status: test.status}
			report, err := ReadReport(t.Context(), client, snapshot, settings, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			if got := report.Fault(); got != test.want || (report.Command == "kubectl nodecleanup install --wait") != (test.want != "") {
				t.Errorf("the fault is %q, the command %q, want %q", got, report.Command, test.want)
			}
			if got := report.Manifest("ns"); strings.HasPrefix(got, "apiVersion: ") != test.manifest || got == "" == test.manifest {
				t.Errorf("the manifest is %q", got)
			}
			if denied := report.Denied != nil; denied != (test.lacks == "*") {
				t.Errorf("denied: %v", report.Denied)
			}
			if got := report.Of([]string{"log"}).Fault(); got != test.ofLog {
				t.Errorf("step log alone: %q, want %q", got, test.ofLog)
			}
			if got := report.Of([]string{"log", "volumes"}).Fault(); got != strings.TrimSuffix(test.want, "; notification ops: list nodes") {
				t.Errorf("both steps: %q", got)
			}
		})
	}
}

// A user who may not read the install gets a note instead of a blocker.
func TestPlansWithoutTheRightToReadTheInstall(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("get", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "deployments"}, api.Agent, errors.New("no"))
	})
	plan := printer.NewPlan("worker")
	plan.Steps = []printer.PlanStep{{Name: "log"}}
	if err := BlockPlans(t.Context(), client, "ns", time.Now, &config.Config{}, plan); err != nil || len(plan.Blocked) != 0 || len(plan.Notes) != 1 {
		t.Errorf("the plan is %+v, error %v", plan, err)
	}
	plan.Notes = nil
	if err := BlockPlans(t.Context(), fake.NewClientset(), "ns", time.Now, &config.Config{}, plan); err != nil || len(plan.Blocked)+len(plan.Notes) != 0 {
		t.Errorf("without an install: the plan is %+v, error %v", plan, err)
	}
}

// The agent may have all rights, and be stopped.
func TestPlansOfAnAgentThatIsStopped(t *testing.T) {
	stopped := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: api.Agent, Namespace: "ns"}, Spec: appsv1.DeploymentSpec{Replicas: new(int32)}}
	client := fake.NewClientset(append(roleObjects(""), stopped)...)
	client.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		review.Status.Allowed = true
		return true, review, nil
	})
	plan := printer.NewPlan("worker")
	if err := BlockPlans(t.Context(), client, "ns", time.Now, &config.Config{}, plan); err != nil || len(plan.Blocked) != 1 || plan.Blocked[0].What != "the agent" {
		t.Errorf("the plan is %+v, error %v", plan, err)
	}
}
