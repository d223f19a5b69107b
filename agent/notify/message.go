package notify

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// message is a Notification about a group, and what the group has to know when it is delivered.
type message struct {
	cleanup.Notification
	group   *group
	version int
	// causes are those of the book.
	causes   int
	reported map[types.UID]kinds
}

// compose returns the message about a group as it is now.
func (b *book) compose(g *group) message {
	ended := g.ended()
	m := message{group: g, version: g.version, causes: b.causes, reported: map[types.UID]kinds{}, Notification: cleanup.Notification{
		Name: b.settings.Name, Key: g.Key, Reference: g.Reference, Began: g.Began.UTC(),
		Repeat: g.Messages > 0 && g.version == g.reported && !ended, Open: g.open(b.on), Final: ended,
		DeletedBy: g.DeletedBy, DryRun: g.DryRun, Events: []cleanup.NotificationEvent{},
	}}
	if g.Members[pauseUID] == nil {
		m.Nodes = len(g.Members)
	}
	uids := slices.SortedFunc(maps.Keys(g.Members), func(a, b types.UID) int {
		return cmp.Or(cmp.Compare(g.Members[a].Node, g.Members[b].Node), cmp.Compare(a, b))
	})
	var all kinds
	for _, uid := range uids {
		member := g.Members[uid]
		m.reported[uid], all = member.Kinds, all|member.Kinds
	}
	all.each(func(kind cleanup.NotificationKind, bit kinds) {
		event := cleanup.NotificationEvent{Kind: kind, Names: []string{}}
		for _, uid := range uids {
			member := g.Members[uid]
			if member.Kinds&bit == 0 {
				continue
			}
			if member.Reported&bit == 0 {
				event.New++
			}
			if event.Nodes == 0 && bit&alerting != 0 { // The text names the first Node as the one with this cause.
				event.Message = member.Message
			}
			if uid == pauseUID {
				continue
			}
			event.Nodes++
			if len(event.Names) < cleanup.MaxNotificationNames {
				event.Names = append(event.Names, member.Node)
			}
		}
		m.Events = append(m.Events, event)
	})
	m.Title = title(m.Notification)
	m.Text = text(m.Notification)
	m.ID = fmt.Sprintf("%s/%d-%s", g.Key, g.Messages+1, digest(m.Notification))
	return m
}

// digest identifies the content of a message. Two messages with the same content have different numbers.
func digest(n cleanup.Notification) string {
	data, err := json.Marshal(n)
	if err != nil {
		panic(fmt.Sprintf("encoding texts and numbers cannot fail: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:8]
}

// title returns one line, such as "Cleanup of 500 nodes: 3 Failed, 497 Succeeded".
func title(n cleanup.Notification) string {
	if n.Nodes == 0 {
		if n.Open {
			return "Cleanups are paused"
		}
		return "Cleanups may begin again"
	}
	about := api.Count(n.Nodes, "node")
	if n.Nodes == 1 && len(n.Events) > 0 {
		about = "node " + n.Events[0].Names[0]
	}
	var counts []string
	for _, event := range n.Events {
		switch {
		case event.Kind == cleanup.NotifyStarted && len(n.Events) > 1:
			continue // The other kinds are more specific.
		case n.Nodes == 1:
			counts = append(counts, string(event.Kind))
		default:
			counts = append(counts, fmt.Sprintf("%d %s", event.Nodes, event.Kind))
		}
	}
	title := "Cleanup of " + about
	if n.DryRun {
		title = "Dry run for " + about
	}
	switch {
	case len(counts) > 0:
		title += ": " + strings.Join(counts, ", ")
	case n.Final:
		title += ": ended"
	}
	return title
}

// text returns the title, and a line for each kind.
func text(n cleanup.Notification) string {
	lines := []string{n.Title}
	if n.Repeat {
		lines[0] = "Still: " + n.Title
	}
	for _, event := range n.Events {
		if event.Kind == cleanup.NotifyStarted && len(n.Events) > 1 {
			continue
		}
		line := string(event.Kind)
		if len(event.Names) > 0 && n.Nodes > 1 {
			line += ": " + strings.Join(event.Names, ", ")
		}
		if more := event.More(); more > 0 {
			line += fmt.Sprintf(" and %d more", more)
		}
		switch {
		case event.Message != "" && event.Nodes > 1:
			line += fmt.Sprintf(" (%s: %s)", event.Names[0], event.Message)
		case event.Message != "":
			line += ": " + event.Message
		case n.Nodes == 1:
			continue // The title has the same content.
		}
		lines = append(lines, line)
	}
	if n.DeletedBy != "" {
		lines = append(lines, "Deleted by "+n.DeletedBy)
	}
	if n.Open && n.Nodes == 1 {
		lines = append(lines, "Next: kubectl nodecleanup diagnose "+n.Events[0].Names[0])
	} else if n.Open {
		lines = append(lines, "Next: kubectl nodecleanup status")
	}
	return strings.Join(lines, "\n")
}
