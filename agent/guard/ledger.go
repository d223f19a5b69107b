package guard

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// reservationsKey is the key of the reservations in the ConfigMap. Every other key is the UID
// of a Node; its value is an api.Deletion.
const reservationsKey = "deletions.json"

const (
	// reservedFor is how long a reservation counts whose Node does not terminate. The API
	// server waits no longer than this for the other webhooks of the same request.
	reservedFor = 30 * time.Second
	// allowedFor is how long the answer to a user holds for the same user, Node and rules. The
	// API server asks again if the Node changed while it was deleting it.
	allowedFor = 5 * time.Second
	// recordFor is how long a record of who deletes a Node is not written again for the same
	// user.
	recordFor = 15 * time.Second
	// verifiedFor is how long a user who is not verified does not replace one who is.
	verifiedFor = time.Minute
)

// Limits of the records of who deleted a Node. The oldest are removed first.
const (
	maxRecordAge   = time.Hour
	maxRecords     = 1000
	maxRecordBytes = 256 << 10
)

// ledger is the content of the ConfigMap in which the replicas record the deletions that they
// allow, before they answer. A Node does not terminate yet at that moment, so two replicas
// could each allow the last deletion that a limit permits.
type ledger struct {
	// version is the resource version of the ConfigMap, empty if there is none.
	version  string
	reserved map[types.UID]reservation
	// deletions say who deleted a Node. No decision depends on them.
	deletions map[types.UID]api.Deletion
	changed   bool
}

// reservation is a deletion that was allowed, and counts until the Node terminates.
type reservation struct {
	UID   types.UID   `json:"uid"`
	Until metav1.Time `json:"until"`
	// User was allowed to delete the Node by these Rules.
	User  string `json:"user,omitempty"`
	Rules []Rule `json:"rules,omitempty"`
}

func (l *ledger) isReserved(uid types.UID) bool {
	_, is := l.reserved[uid]
	return is
}

// reserve records that a user was allowed a deletion by these rules.
func (l *ledger) reserve(deletion Deletion, rules []Rule, now time.Time) {
	l.reserved[deletion.UID] = reservation{deletion.UID, metav1.NewTime(now.Add(reservedFor)), deletion.User, rules}
	l.changed = true
}

// justAllowed reports whether the same user was allowed the same deletion a moment ago, by the
// same rules at least.
func (l *ledger) justAllowed(deletion Deletion, rules []Rule, now time.Time) bool {
	one, is := l.reserved[deletion.UID]
	return is && one.User == deletion.User && now.Add(reservedFor).Sub(one.Until.Time) < allowedFor &&
		!slices.ContainsFunc(rules, func(rule Rule) bool { return !slices.Contains(one.Rules, rule) })
}

// record records who deletes a Node. The last user counts: the one whose request the API server
// executes. One who is not verified does not replace one who is.
func (l *ledger) record(deletion Deletion, now time.Time) {
	before, known := l.deletions[deletion.UID]
	age := now.Sub(before.At.Time)
	switch {
	case known && before.User == deletion.User && before.Verified == deletion.Verified && age < recordFor,
		known && before.Verified && !deletion.Verified && age < verifiedFor:
		return
	}
	l.deletions[deletion.UID] = api.Deletion{Node: deletion.Name, User: deletion.User, At: metav1.NewMicroTime(now), Verified: deletion.Verified}
	l.changed = true
}

// decodeLedger reads a ConfigMap. It leaves out what has expired; fault is called for what
// cannot be read.
func decodeLedger(configMap *corev1.ConfigMap, now time.Time, fault func(key string, err error)) *ledger {
	l := &ledger{version: configMap.ResourceVersion, reserved: map[types.UID]reservation{}, deletions: map[types.UID]api.Deletion{}}
	for key, value := range configMap.Data {
		if key == reservationsKey {
			var reservations []reservation
			if err := json.Unmarshal([]byte(value), &reservations); err != nil {
				fault(key, err)
			}
			for _, one := range reservations {
				if one.Until.After(now) {
					l.reserved[one.UID] = one
				}
			}
			continue
		}
		var deletion api.Deletion
		if err := json.Unmarshal([]byte(value), &deletion); err != nil {
			fault(key, err)
		} else if now.Sub(deletion.At.Time) < maxRecordAge {
			l.deletions[types.UID(key)] = deletion
		}
	}
	return l
}

// encode returns the data of the ConfigMap.
func (l *ledger) encode() (map[string]string, error) {
	reservations := make([]reservation, 0, len(l.reserved))
	for _, one := range l.reserved {
		reservations = append(reservations, one)
	}
	encoded, err := json.Marshal(reservations)
	if err != nil {
		return nil, fmt.Errorf("encoding reservations: %w", err)
	}
	data := map[string]string{reservationsKey: string(encoded)}
	newest := make([]types.UID, 0, len(l.deletions))
	for uid := range l.deletions {
		newest = append(newest, uid)
	}
	slices.SortFunc(newest, func(a, b types.UID) int {
		return cmp.Or(l.deletions[b].At.Compare(l.deletions[a].At.Time), cmp.Compare(a, b))
	})
	size := 0
	for i, uid := range newest {
		encoded, err := json.Marshal(l.deletions[uid])
		if err != nil {
			return nil, fmt.Errorf("encoding who deleted node %s: %w", l.deletions[uid].Node, err)
		}
		if size += len(uid) + len(encoded); i >= maxRecords || size > maxRecordBytes {
			break
		}
		data[string(uid)] = string(encoded)
	}
	return data, nil
}

func (g *Guard) readLedger(ctx context.Context) (*ledger, error) {
	configMap, err := g.Client.CoreV1().ConfigMaps(g.Namespace).Get(ctx, api.GuardName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		configMap = &corev1.ConfigMap{}
	} else if err != nil {
		return nil, fmt.Errorf("reading configmap %s/%s: %w", g.Namespace, api.GuardName, err)
	}
	return decodeLedger(configMap, g.Clock.Now(), func(key string, err error) {
		// The next write removes it. Until then a few reservations may not count.
		g.Log.Warn("decoding the ledger of the delete guard", "configmap", api.GuardName, "key", key, "err", err)
	}), nil
}

// writeLedger reports false if the ConfigMap has changed since the ledger was read: decisions
// that depend on it are not valid then.
func (g *Guard) writeLedger(ctx context.Context, l *ledger) (bool, error) {
	data, err := l.encode()
	if err != nil {
		return false, err
	}
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: g.Namespace, Name: api.GuardName, ResourceVersion: l.version, Labels: map[string]string{api.LabelName: api.LabelNameValue},
		},
		Data: data,
	}
	configMaps := g.Client.CoreV1().ConfigMaps(g.Namespace)
	if l.version == "" {
		_, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	} else {
		_, err = configMaps.Update(ctx, configMap, metav1.UpdateOptions{})
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err) && l.version != "":
		return false, nil
	case err != nil:
		return false, fmt.Errorf("writing configmap %s/%s: %w", g.Namespace, api.GuardName, err)
	}
	return true, nil
}
