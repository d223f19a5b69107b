package notify

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// stored is a book in the ConfigMap.
type stored struct {
	// Match is what the groups depend on in the config. If it changes, what has ended is not reported again.
	Match  string    `json:"match"`
	Seen   time.Time `json:"seen"`
	Groups []*group  `json:"groups"`
}

// match describes which Nodes and events a notification is about.
func (b *book) match() string {
	text, err := b.on.MarshalText()
	if err != nil {
		panic(fmt.Sprintf("encoding names cannot fail: %v", err))
	}
	return string(text) + " " + b.settings.NodeSelector.String()
}

// encode returns the book as JSON of at most limit bytes. It drops groups until it fits: closed ones first,
// then the oldest.
func (b *book) encode(now time.Time, limit int) (string, error) {
	b.seen = now
	for _, g := range b.groups {
		g.Current = g.version == g.reported
	}
	for {
		data, err := json.Marshal(stored{Match: b.match(), Seen: now.UTC(), Groups: append([]*group{}, b.groups...)})
		if err != nil {
			return "", fmt.Errorf("encoding the groups of notification %s: %w", b.settings.Name, err)
		}
		if len(data) <= limit || len(b.groups) == 0 {
			return string(data), nil
		}
		if at := slices.IndexFunc(b.groups, func(g *group) bool { return !g.Closed.IsZero() }); at >= 0 {
			b.groups = slices.Delete(b.groups, at, at+1)
		} else {
			b.drop(0, "the groups need more space than the ConfigMap has")
		}
	}
}

// restore reads a stored book. Without one, or with one for another config, everything that has ended is
// old. An error means that the text cannot be decoded; then nothing is restored.
func (b *book) restore(text string, now time.Time) error {
	b.seen = now
	if text == "" {
		return nil
	}
	var from stored
	if err := json.Unmarshal([]byte(text), &from); err != nil {
		return fmt.Errorf("decoding the groups of notification %s: %w", b.settings.Name, err)
	}
	if from.Match == b.match() {
		b.seen = from.Seen
	}
	for _, g := range from.Groups {
		if g == nil || g.Key == "" {
			continue
		}
		for uid, m := range g.Members {
			if m == nil {
				delete(g.Members, uid)
			}
		}
		if g.Members == nil {
			g.Members = map[types.UID]*member{}
		}
		if g.version = 1; g.Current {
			g.reported = 1
		}
		g.saved = true
		b.groups = append(b.groups, g)
	}
	return nil
}

// endAbsent ends the members whose run records do not exist any more.
func (b *book) endAbsent(exists func(types.UID) bool) {
	for _, g := range b.groups {
		for uid, m := range g.Members {
			if !m.Ended && uid != pauseUID && m.Kinds&unprotected == 0 && !exists(uid) {
				m.Ended = true
				g.version++
			}
		}
	}
	for uid := range b.watched {
		if !exists(uid) {
			delete(b.watched, uid)
		}
	}
}
