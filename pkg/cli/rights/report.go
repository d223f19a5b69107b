package rights

import (
	"context"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// Report is which rights the agent lacks. Every command that reports missing rights takes its words and
// its repair from here.
type Report struct {
	// Objects describes the roles and bindings of the install that do not exist, or do not name the agent.
	Objects []string
	// Own are the missing rights that the agent needs with every config.
	Own []Right
	// Lacks are the missing rights of steps, notifications and the delete guard.
	Lacks []access.Lack
	// Denied is why the caller may not ask for the agent's rights. Then Own is not known, and Lacks are what
	// the agent has reported.
	Denied error
	// Command gives the agent its rights again, empty if it lacks none.
	Command string
}

// ReadReport compares the agent's rights with those of the install in the snapshot, and with those that the
// config needs. Without a config, the rights of steps are not compared. Now is the API server's time.
func ReadReport(ctx context.Context, client kubernetes.Interface, snapshot *inspect.Snapshot, settings *config.Config, now func() time.Time) (*Report, error) {
	namespace := snapshot.Namespace
	report := &Report{Objects: snapshot.MissingGrants}
	own, err := MissingOfAgent(ctx, client, namespace)
	switch {
	case apierrors.IsForbidden(err):
		report.Denied, report.Lacks = err, reported(snapshot.Status)
	case err != nil:
		return nil, err
	default:
		report.Own = own
		if settings != nil {
			if report.Lacks, err = MissingOfConfig(ctx, client, namespace, settings); err != nil {
				return nil, err
			}
		}
	}
	if len(report.Lacks) > 0 && inspect.HasInstall(snapshot) {
		// Now it is known that the steps do not have their rights from another role.
		if report.Objects, err = inspect.MissingGrants(ctx, client, namespace, true); err != nil {
			return nil, err
		}
	}
	if report.Fault() != "" {
		report.Command = inspect.Regrant(ctx, client, namespace, inspect.Assess(snapshot, version.Version, now()).Agent)
	}
	return report, nil
}

// reported returns the missing rights in the agent's status, which is nil if there is none.
func reported(status *api.AgentStatus) []access.Lack {
	if status == nil {
		return nil
	}
	var lacks []access.Lack
	for _, plugin := range status.Plugins {
		if missing := access.Reported(plugin.MissingRules, plugin.MissingNamespaceRules); !missing.Empty() {
			lacks = append(lacks, access.Lack{Step: plugin.Step, Missing: missing.Rights()})
		}
	}
	for _, one := range status.Notifications {
		if missing := access.Reported(one.MissingRules, nil); !missing.Empty() {
			lacks = append(lacks, access.Lack{Notification: one.Notification, Missing: missing.Rights()})
		}
	}
	return lacks
}

// Fault names what the agent lacks in one line, empty if it lacks nothing. An object that does not exist
// explains every missing right, so it is named alone.
func (r *Report) Fault() string {
	switch {
	case len(r.Objects) > 0:
		return access.Lacking(strings.Join(r.Objects, ", "))
	case len(r.Own) > 0:
		return access.Lacking(Some(r.Own))
	case len(r.Lacks) > 0:
		return access.Lacking(access.DescribeLacks(r.Lacks))
	}
	return ""
}

// Manifest returns YAML that grants the rights that only steps and notifications lack. It is empty if Command
// restores an object: then other roles would remain beside it.
func (r *Report) Manifest(namespace string) string {
	if len(r.Objects)+len(r.Own) > 0 || len(r.Lacks) == 0 {
		return ""
	}
	return access.Manifest(namespace, access.GrantsOfLacks(r.Lacks))
}

// Of returns what of the report concerns these steps.
func (r *Report) Of(steps []string) *Report {
	some := *r
	some.Lacks = slices.DeleteFunc(slices.Clone(r.Lacks), func(lack access.Lack) bool { return !slices.Contains(steps, lack.Step) })
	if r.Denied == nil && len(r.Own)+len(some.Lacks) == 0 && !inspect.LacksOwnRights(r.Objects) {
		some.Objects = nil // Only the role of the steps, of which these need no right.
	}
	return &some
}
