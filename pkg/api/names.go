// Package api holds the names, states and encodings that the agent, the CLI and the manifests
// share, and pure functions that classify a Node.
package api

// Names of objects and fields that nodecleanup creates on a Node or in its own namespace.
const (
	// Finalizer keeps a deleted Node until its cleanup is done. Kubernetes wants
	// finalizers on core kinds to be qualified names, "domain/name".
	Finalizer = "nodecleanup.io/finalizer"

	// Namespace is the namespace of the agent unless --namespace names another.
	Namespace = "nodecleanup-system"
	// Agent names the agent's Deployment, Service, ServiceAccount, ClusterRole and Lease.
	Agent = "nodecleanup-agent"
	// AgentSteps names the ClusterRole and the ClusterRoleBinding with the rights that the configured
	// steps need.
	AgentSteps = "nodecleanup-agent-steps"
	// AgentEvents names the Role and the RoleBinding of the agent in the namespace "default",
	// where Events about Nodes are.
	AgentEvents = "nodecleanup-agent-events"
	// Viewer and Operator name the ClusterRoles, and the Roles in the agent's namespace, for
	// users: to view cleanups, and to request and bypass them.
	Viewer   = "nodecleanup-viewer"
	Operator = "nodecleanup-operator"
	// ConfigName names the ConfigMap that holds the config; ConfigKey is the key in it.
	ConfigName = "nodecleanup-config"
	ConfigKey  = "config.yaml"
	// StatusName names the ConfigMap in which the leader reports on itself.
	StatusName = "nodecleanup-status"
	// WebhookName names the MutatingWebhookConfiguration and the ValidatingWebhookConfiguration.
	WebhookName = "nodecleanup"
	// RecordsPolicyName names the ValidatingAdmissionPolicy by which only the agent can write run
	// records, its status and the ConfigMaps of the delete guard and of the notifications.
	RecordsPolicyName = "nodecleanup-records"
	// WebhookHook names the one webhook in the mutating one.
	WebhookHook = "finalizer.nodecleanup.io"
	// GuardHook names the one webhook in the validating one: the delete guard.
	GuardHook = "delete.nodecleanup.io"
	// QuotaName names the ResourceQuota that admits the priority class of the agent's Pods.
	QuotaName = "nodecleanup-critical-pods"
	// CASecretName names the Secret with the CA that signs the webhook's serving certificate.
	CASecretName = "nodecleanup-webhook-ca"
	// MutatePath is the path of the mutating webhook.
	MutatePath = "/mutate-node"
	// GuardPath is the path of the validating webhook.
	GuardPath = "/guard-node"
	// HealthPath and ReadyPath are the paths of the probes, MetricsPath the path of the metrics.
	HealthPath  = "/healthz"
	ReadyPath   = "/readyz"
	MetricsPath = "/metrics"
	// GuardName names the ConfigMap in which agents share the deletions that they have just
	// allowed.
	GuardName = "nodecleanup-guard"
	// NotificationsName names the ConfigMap in which the leader stores which notifications were sent.
	NotificationsName = "nodecleanup-notifications"
	// FieldManager is the field manager of objects that the CLI applies.
	FieldManager = "kubectl-nodecleanup"
)

// Ports of the agent's Pods.
const (
	WebhookPort = 9443
	ProbePort   = 8081
	MetricsPort = 8080
)

// Annotations on a Node. A request is an annotation that a person sets; the
// answer is in the Node condition and the run record.
const (
	// AnnotationBypass set to "true" releases the Node without cleanup.
	AnnotationBypass = "nodecleanup.io/bypass"
	// AnnotationBypassReason holds the operator's reason for the bypass.
	AnnotationBypassReason = "nodecleanup.io/bypass-reason"
	// AnnotationBypassUntil is when the bypass ends, RFC 3339.
	AnnotationBypassUntil = "nodecleanup.io/bypass-until"
	// AnnotationBypassBy names the user who set the bypass. The admission policy accepts only the
	// name of the user who sends the request. No decision depends on it.
	AnnotationBypassBy = "nodecleanup.io/bypass-by"
	// AnnotationRetryRequestedAt asks for a new try of a failed cleanup, RFC 3339.
	AnnotationRetryRequestedAt = "nodecleanup.io/retry-requested-at"
	// AnnotationRetryRequestedBy names the user who requested the retry. The admission policy
	// accepts only the name of the user who sends the request.
	AnnotationRetryRequestedBy = "nodecleanup.io/retry-requested-by"
	// AnnotationCleanupRequestedAt asks for the cleanup of a Node that is not
	// deleted, RFC 3339. Taking it off gives that cleanup up.
	AnnotationCleanupRequestedAt = "nodecleanup.io/cleanup-requested-at"
	// AnnotationCleanupRequestedBy names the user who requested the cleanup. The admission policy
	// accepts only the name of the user who sends the request.
	AnnotationCleanupRequestedBy = "nodecleanup.io/cleanup-requested-by"
	// AnnotationCleanupRequestedPlan is the hash of the only plan that the requested cleanup may
	// run. Without it, the cleanup runs any plan.
	AnnotationCleanupRequestedPlan = "nodecleanup.io/cleanup-requested-plan"
	// AnnotationProtect set to "true" has the delete guard refuse the Node's deletion.
	AnnotationProtect = "nodecleanup.io/protect"
	// AnnotationBreakGlass makes the delete guard allow a deletion that it would deny. Its value
	// is the operator's reason.
	AnnotationBreakGlass = "nodecleanup.io/break-glass"
	// AnnotationBreakGlassUntil is the end of the break-glass, RFC 3339. Without it, the
	// break-glass has no effect.
	AnnotationBreakGlassUntil = "nodecleanup.io/break-glass-until"
	// AnnotationDeletionRequestedBy and AnnotationDeletionRequestedAt were written by agents
	// before 1.0 on a deleted Node. No version reads them any more.
	AnnotationDeletionRequestedBy = "nodecleanup.io/deletion-requested-by"
	AnnotationDeletionRequestedAt = "nodecleanup.io/deletion-requested-at"
	// AnnotationCordonedBy marks a Node that nodecleanup cordoned, so that it never removes the
	// cordon of another user.
	AnnotationCordonedBy = "nodecleanup.io/cordoned-by"
)

// AnnotationPreflightRequestedAt on the status ConfigMap asks for a health check
// of every plugin, RFC 3339. The answer carries the same value, see AgentStatus.
const AnnotationPreflightRequestedAt = "nodecleanup.io/preflight-requested-at"

// Annotations on the status ConfigMap that pause and resume all cleanups. The newest of both
// requests replaces the one before.
const (
	// AnnotationPause set to "true" pauses: no cleanup begins. "false" resumes.
	AnnotationPause = "nodecleanup.io/pause"
	// AnnotationPauseBy names the user who paused or resumed. The policy for run records accepts
	// only the name of the user who sends the request.
	AnnotationPauseBy = "nodecleanup.io/pause-by"
	// AnnotationPauseAt is the time of the request, RFC 3339.
	AnnotationPauseAt = "nodecleanup.io/pause-at"
	// AnnotationPauseReason holds the operator's reason for the pause.
	AnnotationPauseReason = "nodecleanup.io/pause-reason"
)

// AnnotationRotate on the Secret with the webhook's CA, with any value, has it
// replaced before its time, such as when its key may be known to others.
const AnnotationRotate = "nodecleanup.io/rotate"

// Labels on objects in the agent's namespace and on cluster-scoped objects of an install.
const (
	// Documents is the address of the documents, for texts that people read without a checkout.
	Documents = "https://github.com/nodecleanup/kubectl-nodecleanup/blob/main/docs/"

	// LabelName is on everything an install makes.
	LabelName = "app.kubernetes.io/name"
	// LabelNameValue is its value.
	LabelNameValue = "nodecleanup"
	// LabelRun marks a ConfigMap as a run record.
	LabelRun = "nodecleanup.io/run"
	// LabelNodeUID carries the UID of the Node that a run record is about.
	LabelNodeUID = "nodecleanup.io/node-uid"
)

// RestoreConfig restores the config that the agent accepted last: the agent publishes its text in its status.
const RestoreConfig = "kubectl nodecleanup config view --accepted | kubectl nodecleanup install --config -"

// ConfigHasNoKey is what the agent and the CLI say about a ConfigMap without a config, after its name.
const ConfigHasNoKey = "has no key " + ConfigKey

// ConfigDeleted is what the agent says about a deleted config, after the name of the ConfigMap.
const ConfigDeleted = "was deleted: an agent cannot start without a config"
