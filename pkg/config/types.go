// Package config is the agent's config file: one versioned YAML document that
// is decoded strictly, filled with defaults, checked as a whole, and then never
// changed.
package config

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// APIVersion and Kind of the one kind of document that is read.
const (
	APIVersion = "nodecleanup.io/v1alpha1"
	Kind       = "Config"
)

// Config is a checked config.
type Config struct {
	// DryRun previews each step, calls no plugin's Cleanup, and releases the Node.
	DryRun bool
	// NodeSelector chooses the protected Nodes.
	NodeSelector labels.Selector
	// NodeLabelSelector is NodeSelector as the API writes it.
	NodeLabelSelector metav1.LabelSelector
	Concurrency       Concurrency
	Deadline          Deadline
	History           History
	// Windows are the times at which cleanups may begin.
	Windows Windows
	// Brake says when no cleanup may begin by itself.
	Brake Brake
	// Guard configures which deletions are denied.
	Guard DeleteGuard
	// Steps in the order of the file; their names are unique and their
	// dependencies form no cycle.
	Steps []Step
	// Notifications in the order of the file; their names are unique. They are no steps: no plan has
	// them.
	Notifications []Notification
	// Warnings are valid parts of the config that are probably not intended, in the order of the file.
	Warnings Errors
	// Hash names this config: the first 12 hexadecimal digits of the SHA-256
	// of the file.
	Hash string
}

// Concurrency limits work that is done at the same time.
type Concurrency struct {
	// Nodes is the maximum number of concurrent cleanups.
	Nodes int
	// StepsPerNode run at the same time for one Node.
	StepsPerNode int
	// Evictions are the eviction requests in flight at the same time, over all Nodes.
	Evictions int
}

// DeadlineAction is the action for a Node whose cleanup exceeds the deadline.
type DeadlineAction string

// The actions at the deadline.
const (
	// Hold keeps the Node and reports the passed deadline.
	Hold DeadlineAction = "Hold"
	// Release releases the Node although steps remain.
	Release DeadlineAction = "Release"
)

// Deadline limits a cleanup from the deletion of the Node on.
type Deadline struct {
	// After is zero for no deadline.
	After  time.Duration
	Action DeadlineAction
}

// History limits the run records of deleted Nodes.
type History struct {
	// MaxAge since the end of the cleanup.
	MaxAge time.Duration
	// MaxRuns in number; the newest are kept.
	MaxRuns int
}

// Retry configures the number and the delays of further attempts.
type Retry struct {
	// MaxRetries after the first attempt; 0 for none.
	MaxRetries int
	// InitialDelay before the first retry; each further one is BackoffFactor
	// times longer, up to MaxDelay.
	InitialDelay  time.Duration
	MaxDelay      time.Duration
	BackoffFactor float64
	// Jitter makes each delay longer by a random part of it, up to this share (0 to 1).
	Jitter float64
}

// Step is one configured use of a plugin, with every default filled in.
type Step struct {
	Name   string
	Plugin string
	// Critical: the Node is kept until the step has succeeded.
	Critical bool
	// DependsOn names the steps that must be done first.
	DependsOn []string
	// Priority orders steps that are ready at the same time, lower first.
	Priority int
	// Timeout limits one attempt.
	Timeout time.Duration
	// TotalTimeout limits the step from its first attempt on, retries and the
	// waits between them included; zero for no such limit.
	TotalTimeout time.Duration
	Retry        Retry
	// NodeSelector chooses the Nodes that the step is for.
	NodeSelector labels.Selector
	// Bound is the plugin, built with the step's options.
	Bound cleanup.Plugin
	// Secrets are the keys that the options refer to.
	Secrets []cleanup.SecretKey
	// Options as JSON, for the plan hash; secrets are in it as references only.
	Options []byte
}
