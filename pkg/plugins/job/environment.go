package job

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// environment returns the variables that every container has.
func environment(target cleanup.Target) []corev1.EnvVar {
	node := target.Node
	address := func(of corev1.NodeAddressType) string {
		for _, one := range node.Status.Addresses {
			if one.Type == of {
				return one.Address
			}
		}
		return ""
	}
	var variables []corev1.EnvVar
	for _, one := range []struct{ name, value string }{
		{"NODE_NAME", node.Name},
		{"NODE_UID", string(node.UID)},
		{"NODE_PROVIDER_ID", node.Spec.ProviderID},
		{"NODE_INTERNAL_IP", address(corev1.NodeInternalIP)},
		{"NODE_EXTERNAL_IP", address(corev1.NodeExternalIP)},
		{"NODE_HOSTNAME", address(corev1.NodeHostName)},
		{"NODE_ZONE", node.Labels[corev1.LabelTopologyZone]},
		{"NODE_REGION", node.Labels[corev1.LabelTopologyRegion]},
		{"DELETED_BY", target.DeletedBy},
		{"STEP_NAME", target.Step},
		{"ATTEMPT", strconv.Itoa(target.Attempt)},
		{"IDEMPOTENCY_KEY", target.IdempotencyKey},
	} {
		variables = append(variables, corev1.EnvVar{Name: one.name, Value: literal(one.value)})
	}
	return variables
}

// reservedVariables returns the names of these variables.
func reservedVariables() []string {
	var names []string
	for _, variable := range environment(cleanup.Target{Node: &corev1.Node{}}) {
		names = append(names, variable.Name)
	}
	return names
}

// literal escapes a value for the kubelet, which replaces $(NAME) in the values of variables. An
// annotation of a Node could otherwise read a variable with a secret.
// https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
func literal(value string) string { return strings.ReplaceAll(value, "$", "$$") }
