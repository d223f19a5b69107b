package teams

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// maxRequest is the maximum size of a request, in bytes. Teams allows 28 KB, but counts what the workflow makes of it: a
// request of 24,453 bytes became 28,897 (github.com/MicrosoftDocs/msteams-docs/issues/11274).
const maxRequest = 18_000

// color of the heading.
type color string

const (
	usual     color = "default"
	attention color = "attention"
)

// request is the body of a request: https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using.
type request struct {
	Type        string       `json:"type"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	ContentType string `json:"contentType"`
	Content     card   `json:"content"`
}

// card is an Adaptive Card: https://adaptivecards.io/explorer/AdaptiveCard.html.
type card struct {
	Schema  string      `json:"$schema"`
	Type    string      `json:"type"`
	Version string      `json:"version"`
	Width   fullWidth   `json:"msteams"`
	Body    []richBlock `json:"body"`
}

type fullWidth struct {
	Width string `json:"width"`
}

// richBlock is one line. Unlike a TextBlock, it has no Markdown, so a label can neither add a link nor lose its
// underscores: https://learn.microsoft.com/adaptive-cards/authoring-cards/text-features.
type richBlock struct {
	Type    string    `json:"type"`
	Inlines []textRun `json:"inlines"`
	Spacing string    `json:"spacing,omitempty"`
}

type textRun struct {
	Type   string `json:"type"`
	Text   string `json:"text"`
	Weight string `json:"weight,omitempty"`
	Size   string `json:"size,omitempty"`
	Color  color  `json:"color,omitempty"`
}

// encode returns the request for a text. A text that is too long ends with "…".
func encode(text string, heading color) []byte {
	lines := []string{}
	for line := range strings.Lines(text) {
		if line = httpclient.OneLine(line); line != "" {
			lines = append(lines, line)
		}
	}
	r := request{Type: "message", Attachments: []attachment{{
		ContentType: "application/vnd.microsoft.card.adaptive",
		Content: card{
			Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4", Width: fullWidth{"Full"},
			Body: []richBlock{},
		},
	}}}
	body := &r.Attachments[0].Content.Body
	free := maxRequest - len(marshal(r)) + 1 // The first block has no comma before it.
	for i, line := range lines {
		block := richBlock{Type: "RichTextBlock", Inlines: []textRun{{Type: "TextRun", Text: line}}, Spacing: "small"}
		if i == 0 {
			block.Inlines[0].Weight, block.Inlines[0].Size, block.Inlines[0].Color = "bolder", "medium", heading
		}
		// A comma, and the block with "…" that says that something is missing, must fit, too.
		if size := len(marshal(block)) + 1; size <= free-maxEnd || i == len(lines)-1 && size <= free {
			*body, free = append(*body, block), free-size
			continue
		}
		block.Inlines[0].Text = ""
		block.Inlines[0].Text = cut(line, free-len(marshal(block))-1)
		*body = append(*body, block)
		break
	}
	return marshal(r)
}

// maxEnd is the size of a block with "…" and a comma, in bytes.
const maxEnd = 200

// cut returns the beginning of a line, and "…". In JSON, it has at most limit bytes.
func cut(line string, limit int) string {
	const end = "…"
	size := len(end)
	for i, character := range line {
		size += len(marshal(string(character))) - len(`""`)
		if size > limit {
			return line[:i] + end
		}
	}
	return line + end
}

// marshal returns JSON without the escape sequences for HTML, which would make it longer.
func marshal(value any) []byte {
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(fmt.Sprintf("encoding texts cannot fail: %v", err))
	}
	return bytes.TrimSuffix(data.Bytes(), []byte("\n"))
}
