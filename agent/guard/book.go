package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// The book is where agents note the deletions that they allow, before they say so. The Node
// of one does not terminate yet then, so that two that are asked at the same time could each
// allow the last that is to be had.
const bookKey = "deletions.json"

// noted is how long such a deletion counts that does not come to be. The API server waits
// no longer for the webhooks that are asked beside this one.
const noted = 30 * time.Second

// book is what the ConfigMap holds. Writing it fails when somebody else has written since
// it was read.
type book struct {
	version string
	// allowed deletions, by the Node's UID.
	allowed map[types.UID]entry
}

type entry struct {
	UID   types.UID   `json:"uid"`
	Until metav1.Time `json:"until"`
}

// booked returns those of the rules that two deletions at once could break.
func booked(asked []Rule) []Rule {
	var found []Rule
	for _, rule := range asked {
		if rule == LastSchedulable || rule == MaxTerminating {
			found = append(found, rule)
		}
	}
	return found
}

func (g *Guard) readBook(ctx context.Context) (*book, error) {
	configMap, err := g.Client.CoreV1().ConfigMaps(g.Namespace).Get(ctx, api.GuardName, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading configmap %s/%s: %w", g.Namespace, api.GuardName, err)
	}
	b := &book{allowed: map[types.UID]entry{}}
	if err != nil {
		return b, nil
	}
	b.version = configMap.ResourceVersion
	var entries []entry
	if err := json.Unmarshal([]byte(configMap.Data[bookKey]), &entries); err != nil {
		// It is written anew with the next deletion. Until then a few count as not allowed.
		g.Log.Warn("what other agents have just allowed cannot be read", "configmap", api.GuardName, "err", err)
	}
	for _, one := range entries {
		if one.Until.After(g.Clock.Now()) {
			b.allowed[one.UID] = one
		}
	}
	return b, nil
}

// enter writes the book. It reports false where somebody else has written it since it was
// read: then what was decided by it does not count.
func (g *Guard) enter(ctx context.Context, b *book) (bool, error) {
	entries := make([]entry, 0, len(b.allowed))
	for _, one := range b.allowed {
		entries = append(entries, one)
	}
	data, err := json.Marshal(entries)
	if err != nil {
		return false, fmt.Errorf("encoding the allowed deletions: %w", err)
	}
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: g.Namespace, Name: api.GuardName, ResourceVersion: b.version, Labels: map[string]string{api.LabelName: api.LabelNameValue},
		},
		Data: map[string]string{bookKey: string(data)},
	}
	configMaps := g.Client.CoreV1().ConfigMaps(g.Namespace)
	if b.version == "" {
		_, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	} else {
		_, err = configMaps.Update(ctx, configMap, metav1.UpdateOptions{})
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err) && b.version != "":
		return false, nil
	case err != nil:
		return false, fmt.Errorf("writing configmap %s/%s: %w", g.Namespace, api.GuardName, err)
	}
	return true, nil
}
