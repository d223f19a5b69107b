package config

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type tellOptions struct {
	Text  cleanup.Template `json:"text"`
	Token cleanup.Value    `json:"token"`
}

func (o *tellOptions) Validate() []error {
	if problem := o.Text.Problem(); problem != "" {
		return []error{cleanup.OptionError{Path: "text", Problem: problem}}
	}
	return nil
}

type tellNotifier struct{ tellOptions }

func (tellNotifier) Notify(context.Context, cleanup.Notification) (string, error) { return "", nil }

// notifiers is a catalog of a plugin for steps, one for notifications, and one for both.
func notifiers() []cleanup.Descriptor {
	bind := cleanup.Options(tellOptions{}, func(tellOptions) (cleanup.Plugin, error) { return noPlugin{}, nil })
	notify := cleanup.NotifierOptions(tellOptions{}, func(o tellOptions) (cleanup.Notifier, error) { return tellNotifier{o}, nil })
	return []cleanup.Descriptor{{Name: "work", Bind: bind}, {Name: "chat", BindNotifier: notify, Options: cleanup.OptionNames[tellOptions]()}, {Name: "both", Bind: bind, BindNotifier: notify}}
}

const head = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps:\n- {name: a, plugin: work}\n"

func TestNotificationDefaults(t *testing.T) {
	settings, err := Parse([]byte(head+"notifications:\n- {name: ops, plugin: chat}\n"), notifiers())
	if err != nil {
		t.Fatal(err)
	}
	one := settings.Notifications[0]
	if fmt.Sprint(one.Events) != "[Unprotected Failed Blocked Deadline Bypassed Paused]" || one.GroupWait != 30*time.Second || one.RepeatInterval != 4*time.Hour || !one.NodeSelector.Empty() || one.Bound == nil {
		t.Errorf("the notification is %+v", one)
	}
}

func TestNotificationFields(t *testing.T) {
	settings, err := Parse([]byte(head+`notifications:
- name: ops
  plugin: both
  events: [Started, Failed]
  nodeSelector: {matchLabels: {pool: batch}}
  groupWait: 1m
  repeatInterval: 1h
  options: {text: "${notification.text}", token: {secretKeyRef: {name: chat, key: token}}}
`), notifiers())
	if err != nil {
		t.Fatal(err)
	}
	one := settings.Notifications[0]
	if !slices.Equal(one.Events, []cleanup.NotificationKind{cleanup.NotifyFailed, cleanup.NotifyStarted}) || one.GroupWait != time.Minute || one.RepeatInterval != time.Hour || one.NodeSelector.String() != "pool=batch" ||
		!slices.Equal(one.Secrets, []cleanup.SecretKey{{Name: "chat", Key: "token"}}) || one.Bound.(tellNotifier).Text.String() != "${notification.text}" {
		t.Errorf("the notification is %+v", one)
	}
}

func TestNotificationFaults(t *testing.T) {
	for text, want := range map[string]string{
		"{name: ops, plugin: work}":                                                     "line 6: notifications[0].plugin: plugin work cannot notify; plugins that can: chat, both",
		"{name: ops, plugin: caht}":                                                     `line 6: notifications[0].plugin: unknown plugin "caht"; did you mean chat?`,
		"{name: Ops, plugin: chat}":                                                     `line 6: notifications[0].name: must be 1 to 63 lower case letters, digits and "-", not "Ops"`,
		"{name: ops, plugin: chat, events: []}":                                         "notifications[0].events: is empty: list kinds of events, or omit it for those that need attention",
		"{name: ops, plugin: chat, events: [Faild]}":                                    `notifications[0].events[0]: unknown kind "Faild"; known kinds: Unprotected, Failed, Blocked, Deadline, Bypassed, Paused, Succeeded, Started; did you mean Failed?`,
		"{name: ops, plugin: chat, events: [Failed, Failed]}":                           `notifications[0].events[1]: "Failed" is named twice`,
		"{name: ops, plugin: chat, groupWait: 2h}":                                      "notifications[0].groupWait: must be at most 1h0m0s",
		"{name: ops, plugin: chat, groupWait: 0s}":                                      "notifications[0].groupWait: must be longer than 0, not 0s",
		"{name: ops, plugin: chat, repeatInterval: 10s}":                                "notifications[0].repeatInterval: is 10s, shorter than groupWait, 30s",
		"{name: ops, plugin: chat, nodeSelector: {matchLabels: {a: b c}}}":              "notifications[0].nodeSelector: ",
		"{name: ops, plugin: chat, options: {text: '${node.name}'}}":                    "notifications[0].options.text: ${node.name}: a notification can be about many nodes; known references: ${notification.name}",
		"{name: ops, plugin: chat, options: {text: '${notification.nam}'}}":             "notifications[0].options.text: has the unknown reference ${notification.nam}; known references: ${notification.name}",
		"{name: ops, plugin: chat, options: {txet: x}}":                                 "notifications[0].options.txet: unknown option of plugin chat; did you mean text?",
		"{name: ops, plugin: chat}\n- {name: ops, plugin: chat}":                        `line 7: notifications[1].name: "ops" is also the name of notifications[0]`,
		strings.Repeat("{name: ops, plugin: chat}\n- ", 20) + "{name: x, plugin: chat}": "notifications: has 21 elements, the maximum is 20",
	} {
		_, err := Parse([]byte(head+"notifications:\n- "+text+"\n"), notifiers())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v\nwant %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"{name: a, plugin: chat}": "steps[0].plugin: plugin chat only notifies: use it in notifications; plugins of steps: work, both",
		"{name: a, plugin: work, options: {text: '${notification.text}'}}": "steps[0].options.text: ${notification.text}: a step cannot refer to a notification",
	} {
		_, err := Parse([]byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps:\n- "+text+"\n"), notifiers())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v\nwant %s", text, err, want)
		}
	}
}
