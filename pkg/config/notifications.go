package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Defaults and limits of notifications.
const (
	DefaultGroupWait      = 30 * time.Second
	DefaultRepeatInterval = 4 * time.Hour
	// MaxNotifications is the maximum number of notifications in a config.
	MaxNotifications = 20
	// MaxGroupWait is the maximum of GroupWait.
	MaxGroupWait = time.Hour
)

// Notification is one configured use of a plugin that sends messages about cleanups.
type Notification struct {
	Name   string
	Plugin string
	// Events are the kinds of events to tell.
	Events []cleanup.NotificationKind
	// NodeSelector chooses the Nodes to tell about. It does not apply to NotifyPaused.
	NodeSelector labels.Selector
	// GroupWait is the time from the first event of a group to its first message, and the minimum time
	// between two messages about it.
	GroupWait time.Duration
	// RepeatInterval is the time between two messages while something needs attention and nothing
	// changes.
	RepeatInterval time.Duration
	// Bound is the plugin, built with the options.
	Bound cleanup.Notifier
	// Secrets are the keys that the options refer to.
	Secrets []cleanup.SecretKey
	// Options as JSON; secrets are in it as references only.
	Options []byte
}

type fileNotification struct {
	// Name is the unique name of the notification.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Plugin is what sends it, such as http or webhook.
	Plugin string `yaml:"plugin" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"`
	// Events are the kinds of events that cause a message. Without it, those that need attention: all but
	// `Started` and `Succeeded`.
	Events []string `yaml:"events" jsonschema:"minItems=1,enum=Started,enum=Blocked,enum=Failed,enum=Deadline,enum=Succeeded,enum=Bypassed,enum=Paused,enum=Unprotected"`
	// NodeSelector selects the Nodes that the messages are about. Without it, all Nodes.
	NodeSelector selector `yaml:"nodeSelector"`
	// GroupWait is how long the agent collects events before the first message, and the minimum time
	// between two messages about the same Nodes, at most 1h.
	GroupWait *duration `yaml:"groupWait" jsonschema_extras:"default=30s"`
	// RepeatInterval is how often the agent repeats a message while something needs attention, at least `groupWait`.
	RepeatInterval *duration `yaml:"repeatInterval" jsonschema_extras:"default=4h"`
	// Options are the options of the plugin.
	Options rawOptions `yaml:"options"`
}

func (p *parser) notifications(written []fileNotification) []Notification {
	if len(written) > MaxNotifications {
		p.fault("notifications", "has %d elements, the maximum is %d", len(written), MaxNotifications)
	}
	first := map[string]int{}
	var all []Notification
	for i, one := range written {
		path := fmt.Sprintf("notifications[%d]", i)
		if earlier, again := first[one.Name]; again {
			p.fault(path+".name", "%q is also the name of notifications[%d]", one.Name, earlier)
		} else {
			first[one.Name] = i
		}
		all = append(all, p.notification(path, one))
	}
	return all
}

func (p *parser) notification(path string, written fileNotification) Notification {
	notification := Notification{
		Name:           written.Name,
		Plugin:         written.Plugin,
		Events:         p.kinds(path+".events", written.Events),
		GroupWait:      p.positive(path+".groupWait", written.GroupWait, DefaultGroupWait),
		RepeatInterval: p.positive(path+".repeatInterval", written.RepeatInterval, DefaultRepeatInterval),
		Secrets:        secretsIn(written.Options.values),
		Options:        written.Options.json,
	}
	if !stepName.MatchString(notification.Name) {
		p.fault(path+".name", "must be 1 to 63 lower case letters, digits and \"-\", not %q", notification.Name)
	}
	if notification.GroupWait > MaxGroupWait {
		p.fault(path+".groupWait", "must be at most %s", MaxGroupWait)
	}
	if notification.RepeatInterval < notification.GroupWait {
		p.fault(path+".repeatInterval", "is %s, shorter than groupWait, %s", notification.RepeatInterval, notification.GroupWait)
	}
	var err error
	if notification.NodeSelector, err = written.NodeSelector.compile(); err != nil {
		p.fault(path+".nodeSelector", "%v", err)
	}
	descriptor, known := p.catalog[written.Plugin]
	switch {
	case !known:
		p.unknownPlugin(path, written.Plugin, p.notifiers())
	case descriptor.BindNotifier == nil:
		p.fault(path+".plugin", "plugin %s cannot notify; plugins that can: %s", written.Plugin, strings.Join(p.notifiers(), ", "))
	default:
		var faults []error
		notification.Bound, faults = descriptor.BindNotifier(written.Options.json)
		p.optionFaults(path+".options", descriptor, written.Options, faults, func(options []byte) []error {
			_, faults := descriptor.BindNotifier(options)
			return faults
		})
	}
	p.notificationReferences(path+".options", written.Options)
	return notification
}

// kinds returns the kinds of events, in the order of cleanup.NotificationKinds.
func (p *parser) kinds(path string, written []string) []cleanup.NotificationKind {
	var known []string
	var all []cleanup.NotificationKind
	for _, kind := range cleanup.NotificationKinds() {
		known = append(known, string(kind))
		if slices.Contains(written, string(kind)) || written == nil && kind.NeedsAttention() {
			all = append(all, kind)
		}
	}
	if written != nil && len(written) == 0 {
		p.fault(path, "is empty: list kinds of events, or omit it for those that need attention")
	}
	for i, kind := range written {
		place := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !slices.Contains(known, kind):
			p.fault(place, "unknown kind %q; known kinds: %s%s", kind, strings.Join(known, ", "), suggestion(kind, known))
		case slices.Index(written, kind) < i:
			p.fault(place, "%q is named twice", kind)
		}
	}
	return all
}

// notifiers returns the names of the plugins that can notify.
func (p *parser) notifiers() []string {
	return slices.DeleteFunc(slices.Clone(p.known), func(name string) bool { return p.catalog[name].BindNotifier == nil })
}

// notificationReferences checks that the options of a notification have no reference to one Node or step.
func (p *parser) notificationReferences(path string, options rawOptions) {
	eachString(path, options.values, func(path, text string) {
		template, err := cleanup.NewTemplate(text)
		if err != nil {
			return // It is no template, or the plugin reports the fault.
		}
		for _, reference := range template.References() {
			if !reference.OfNotification() {
				p.fault(path, "${%s}: a notification can be about many nodes; known references: ${%s}", reference.Name, strings.Join(cleanup.NotificationReferences(), "}, ${"))
			}
		}
	})
}
