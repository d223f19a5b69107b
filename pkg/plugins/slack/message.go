package slack

import (
	"strings"
	"unicode/utf8"
)

const (
	// maxSection is the maximum length of the text of a section, in characters:
	// https://docs.slack.dev/reference/block-kit/blocks/section-block.
	maxSection = 3000
	// maxSections limits the blocks of a message. Slack allows 50 blocks, but refuses a message whose blocks
	// have more than about 13,200 characters (github.com/slackapi/bolt-js/issues/2509).
	maxSections = 4
)

// escape replaces the characters that have a meaning in Slack's markup:
// https://docs.slack.dev/messaging/formatting-message-text#escaping.
func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

// document returns a message with the text in blocks. They are verbatim: Slack makes no links and no mentions
// of what only looks like one, such as the name of a channel in the log of a container. The text beside the blocks is what notifications of
// devices show.
func document(text string) map[string]any {
	var blocks []map[string]any
	for _, part := range split(text) {
		blocks = append(blocks, map[string]any{"type": "section", "text": map[string]any{"type": "mrkdwn", "text": part, "verbatim": true}})
	}
	first, _, _ := strings.Cut(text, "\n")
	return map[string]any{"text": cut(first, maxSection), "blocks": blocks, "parse": "none"}
}

// split returns the text in parts of at most maxSection characters, which end at the end of a line if
// possible. What does not fit is left out.
func split(text string) []string {
	var parts []string
	for text != "" && len(parts) < maxSections {
		part := cut(text, maxSection)
		if len(part) < len(text) {
			if end := strings.LastIndexByte(part, '\n'); end > 0 {
				part = part[:end+1]
			}
		}
		text = text[len(part):]
		if part = strings.TrimRight(part, "\n"); part != "" {
			parts = append(parts, part)
		}
	}
	if text != "" {
		last := parts[len(parts)-1]
		parts[len(parts)-1] = cut(last, maxSection-1) + "…"
	}
	return parts
}

// cut returns at most limit characters of a text, and no part of an escaped one.
func cut(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	end := 0
	for range limit {
		_, size := utf8.DecodeRuneInString(text[end:])
		end += size
	}
	part := text[:end]
	if at := strings.LastIndexByte(part, '&'); at >= 0 && !strings.Contains(part[at:], ";") && len(part)-at < len("&amp;") {
		part = part[:at]
	}
	return part
}
