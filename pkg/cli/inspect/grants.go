package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// HasInstall reports whether the agent has the rights of an install: an agent that runs outside the cluster
// without one has its own.
func HasInstall(s *Snapshot) bool {
	return s.Deployment != nil || cluster.AgentURL(s.Webhook, s.Guard) != nil
}

// readGrants finds the roles and bindings that the agent lacks, and if some are missing, the others.
func (s *Snapshot) readGrants(ctx context.Context, client kubernetes.Interface) (err error) {
	if !HasInstall(s) {
		return nil
	}
	// A step may have its rights from another role. So the agent's own report says whether it lacks some.
	lacks := s.Status != nil && slices.ContainsFunc(s.Status.Plugins, func(plugin api.PluginHealth) bool {
		return len(plugin.MissingRules)+len(plugin.MissingNamespaceRules) > 0
	})
	s.MissingGrants, err = MissingGrants(ctx, client, s.Namespace, lacks)
	if len(s.MissingGrants) > 0 {
		s.grants = roles(ctx, client, s.Namespace)
	}
	return err
}

// MissingGrants describes the roles and bindings of the agent that do not exist, and the bindings that
// do not name its service account. It skips what the caller may not read. The role of the steps may be
// absent unless its binding exists or a step lacks rights.
func MissingGrants(ctx context.Context, client kubernetes.Interface, namespace string, stepLacksRights bool) ([]string, error) {
	rbac, options := client.RbacV1(), metav1.GetOptions{}
	var missing []string
	var failed error
	// add returns whether the object exists.
	add := func(object, fault string, err error) bool {
		switch {
		case apierrors.IsNotFound(err):
			missing = append(missing, object+" does not exist")
		case apierrors.IsForbidden(err):
		case err != nil && failed == nil:
			failed = fmt.Errorf("reading %s: %w", object, err)
		case err == nil && fault != "":
			missing = append(missing, object+" "+fault)
		}
		return err == nil
	}
	clusterBinding, err := rbac.ClusterRoleBindings().Get(ctx, api.Agent, options)
	add("ClusterRoleBinding "+api.Agent, faultOf(clusterBinding.Subjects, namespace), err)
	_, err = rbac.ClusterRoles().Get(ctx, api.Agent, options)
	add("ClusterRole "+api.Agent, "", err)
	stepsBinding, unbound := rbac.ClusterRoleBindings().Get(ctx, api.AgentSteps, options)
	_, err = rbac.ClusterRoles().Get(ctx, api.AgentSteps, options)
	needed := stepLacksRights || unbound == nil && stepsBinding.RoleRef.Name == api.AgentSteps
	if exists := !apierrors.IsNotFound(err); (exists || needed) && add("ClusterRole "+api.AgentSteps, "", err) {
		add("ClusterRoleBinding "+api.AgentSteps, faultOf(stepsBinding.Subjects, namespace), unbound)
	}
	binding, err := rbac.RoleBindings(namespace).Get(ctx, api.Agent, options)
	add(fmt.Sprintf("RoleBinding %s/%s", namespace, api.Agent), faultOf(binding.Subjects, namespace), err)
	_, err = rbac.Roles(namespace).Get(ctx, api.Agent, options)
	add(fmt.Sprintf("Role %s/%s", namespace, api.Agent), "", err)
	return missing, failed
}

// LacksOwnRights reports whether a role or binding is missing that the agent needs with every config.
// Without the role of the steps, it still writes its status and reads nodes.
func LacksOwnRights(missingGrants []string) bool {
	return slices.ContainsFunc(missingGrants, func(missing string) bool { return !strings.Contains(missing, " "+api.AgentSteps+" ") })
}

// cannotReadNodes reports whether the role or binding is missing that lets the agent read Nodes. The delete guard
// evaluates no deletion then.
func cannotReadNodes(missingGrants []string) bool {
	return slices.ContainsFunc(missingGrants, func(missing string) bool {
		return strings.HasPrefix(missing, "ClusterRole "+api.Agent+" ") || strings.HasPrefix(missing, "ClusterRoleBinding "+api.Agent+" ")
	})
}

// faultOf returns why a binding with these subjects grants the agent nothing, empty if it does.
func faultOf(subjects []rbacv1.Subject, namespace string) string {
	if slices.ContainsFunc(subjects, func(subject rbacv1.Subject) bool {
		return subject.Kind == rbacv1.ServiceAccountKind && subject.Name == api.Agent && subject.Namespace == namespace
	}) {
		return ""
	}
	return fmt.Sprintf("does not name service account %s/%s", namespace, api.Agent)
}
