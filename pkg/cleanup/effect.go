package cleanup

import "github.com/nodecleanup/kubectl-nodecleanup/pkg/api"

// Effect is one change that a step would make, or one object that it would not change. It is
// stored in run records, so package api defines it.
type Effect = api.Effect

// Action names the kind of change that an effect is.
type Action = api.Action

// Object identifies the object that an effect changes.
type Object = api.Object

// Blocker describes the blocker of an effect.
type Blocker = api.Blocker

// The actions. Use these if they fit. A further action is an imperative that begins with a capital
// letter, such as "Detach".
const (
	Cordon  = api.ActionCordon
	Evict   = api.ActionEvict
	Restart = api.ActionRestart
	Wait    = api.ActionWait
	Skip    = api.ActionSkip
	Call    = api.ActionCall
	Log     = api.ActionLog
	Unknown = api.ActionUnknown
)

// The causes of a blocked effect.
const (
	BlockedByBudget       = api.BlockedByBudget
	BlockedByBudgets      = api.BlockedByBudgets
	BlockedByBudgetStatus = api.BlockedByBudgetStatus
	BlockedByUnready      = api.BlockedByUnready
	BlockedByOption       = api.BlockedByOption
	BlockedByController   = api.BlockedByController
	BlockedByAdmission    = api.BlockedByAdmission
	BlockedByWebhook      = api.BlockedByWebhook
	BlockedByServer       = api.BlockedByServer
	BlockedByLastCopy     = api.BlockedByLastCopy
)

// The kinds of objects.
const (
	KindNode = api.KindNode
	KindPod  = api.KindPod
	KindURL  = api.KindURL
)
