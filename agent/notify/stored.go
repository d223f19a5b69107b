package notify

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// stored is a book in the ConfigMap.
type stored struct {
	// Match is what the groups depend on in the config. If it changes, what has ended is not reported again.
	Match string `json:"match"`
	// Receiver identifies the plugin and its options. If it changes, references are those of another service.
	Receiver string    `json:"receiver"`
	Seen     time.Time `json:"seen"`
	Groups   []*group  `json:"groups"`
}

// match describes which Nodes and events a notification is about.
func (b *book) match() string {
	text, err := b.on.MarshalText()
	if err != nil {
		panic(fmt.Sprintf("encoding the names of kinds: %v", err))
	}
	return string(text) + " " + b.settings.NodeSelector.String()
}

// receiver identifies what sends the messages, and where to.
func (b *book) receiver() string {
	sum := sha256.Sum256(append([]byte(b.settings.Plugin+" "), b.settings.Options...))
	return hex.EncodeToString(sum[:])[:12]
}

// maxDecoded limits a book after decompression, in bytes. A full one with all messages has about 6 MB.
const maxDecoded = 32 << 20

// encode returns the book as compressed JSON of at most limit bytes, and how many open groups are not in it.
// The book itself keeps all groups. If they do not fit, the stored members have no messages, then no names:
// the next leader reads both from the run records. After that, closed groups are left out, then the oldest.
func (b *book) encode(now time.Time, limit int) (data []byte, omitted int, err error) {
	if !b.unread {
		b.seen = now
	}
	for _, g := range b.groups {
		g.Current = g.version == g.reported
	}
	groups := slices.Clone(b.groups)
	for level := 0; ; level++ {
		data, err := compress(stored{Match: b.match(), Receiver: b.receiver(), Seen: b.seen.UTC(), Groups: groups})
		if err != nil {
			return nil, 0, fmt.Errorf("encoding the groups of notification %s: %w", b.settings.Name, err)
		}
		if len(data) <= limit || len(groups) == 0 {
			return data, omitted, nil
		}
		switch at := slices.IndexFunc(groups, func(g *group) bool { return !g.Closed.IsZero() }); {
		case level == 0:
			groups = reduced(groups, func(m *member) { m.Message = "" })
		case level == 1:
			groups = reduced(groups, func(m *member) { m.Node = "" })
		case at >= 0:
			groups = slices.Delete(groups, at, at+1)
		default:
			groups, omitted = groups[1:], omitted+1
		}
	}
}

// reduced returns copies of the groups with changed members.
func reduced(groups []*group, change func(*member)) []*group {
	var result []*group
	for _, g := range groups {
		small := *g
		small.Members = maps.Clone(g.Members)
		for uid, m := range small.Members {
			if uid != pauseUID { // It is in no run record.
				less := *m
				change(&less)
				small.Members[uid] = &less
			}
		}
		result = append(result, &small)
	}
	return result
}

func compress(value any) ([]byte, error) {
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	if err := json.NewEncoder(writer).Encode(value); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

func decompress(data []byte, into any) error {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(reader, maxDecoded))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// restore reads a stored book. Without one, or with one for another config, everything that has ended is
// old. Times after now are those of a leader whose clock was ahead; they become now. An error means that the
// data cannot be decoded; then nothing is restored.
func (b *book) restore(data []byte, now time.Time) error {
	b.seen = now
	if len(data) == 0 {
		return nil
	}
	var from stored
	if err := decompress(data, &from); err != nil {
		return fmt.Errorf("decoding the groups of notification %s: %w", b.settings.Name, err)
	}
	if from.Match == b.match() {
		b.seen = earliest(from.Seen, now)
	}
	for _, g := range from.Groups {
		if g == nil || g.Key == "" {
			continue
		}
		for uid, m := range g.Members {
			if m == nil {
				delete(g.Members, uid)
			} else if uid != pauseUID {
				m.Node = cmp.Or(m.Node, string(uid)) // Until its run record is read.
			}
		}
		for _, at := range []*time.Time{&g.Began, &g.Joined, &g.Sent, &g.Closed} {
			*at = earliest(*at, now)
		}
		if g.Members == nil {
			g.Members = map[types.UID]*member{}
		}
		if g.version = 1; g.Current {
			g.reported = 1
		}
		if from.Receiver != b.receiver() {
			g.forget()
		}
		g.saved = true
		b.groups = append(b.groups, g)
	}
	return nil
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// readBegins notes that a read of all run records begins. Until then every end was observed, unless the book
// is unread.
func (b *book) readBegins(at time.Time) {
	if !b.unread {
		b.seen = latest(b.seen, at)
	}
}

// readEnds notes that a read that began at a time has passed on all run records.
func (b *book) readEnds(began time.Time) {
	b.unread, b.seen = false, latest(b.seen, began)
}

// endAbsent ends the members whose run records do not exist any more.
func (b *book) endAbsent(exists func(types.UID) bool) {
	for _, g := range b.groups {
		for uid, m := range g.Members {
			if !m.Ended && uid != pauseUID && m.Kinds&unprotected == 0 && !exists(uid) {
				g.end(m)
			}
		}
	}
	for uid := range b.watched {
		if !exists(uid) {
			delete(b.watched, uid)
		}
	}
}

// forget makes an open group new for another receiver: it replaces no message, and tells what needs attention.
func (g *group) forget() {
	g.Reference = ""
	if !g.Closed.IsZero() {
		return
	}
	g.reported = 0
	for _, m := range g.Members {
		m.Reported = 0
	}
}
