package teams

import (
	"encoding/json"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// renderer is Microsoft's renderer of Adaptive Cards, which hack/ci/browser-libraries fetches.
const renderer = "../../../bin/adaptivecards-3.0.6.min.js"

// page renders cards with a minimal Markdown, as a host such as Teams sets one, and writes down what a user sees.
const page = `<!doctype html><meta charset="utf-8"><body><script>%s</script><script>
AdaptiveCards.AdaptiveCard.onProcessMarkdown = (text, out) => {
  out.outputHtml = text.replace(/\[(.*?)\]\((.*?)\)/g, '<a href="$2">$1</a>').replace(/_(.*?)_/g, '<em>$1</em>'); out.didProcess = true;
};
const render = json => {
  const result = {problems: [], lines: [], links: 0, bold: 0, heading: ''};
  try {
    const card = new AdaptiveCards.AdaptiveCard(), context = new AdaptiveCards.SerializationContext(AdaptiveCards.Versions.v1_4);
    card.hostConfig = new AdaptiveCards.HostConfig({containerStyles: {default: {foregroundColors: {default: {default: '#010203'}, attention: {default: '#c0ffee'}}}}});
    card.parse(json, context);
    for (let i = 0; i < context.eventCount; i++) result.problems.push(context.getEventAt(i).message);
    for (const event of card.validateProperties().validationEvents) result.problems.push(event.message);
    const element = card.render();
    document.body.appendChild(element);
    for (const block of element.querySelectorAll('.ac-richTextBlock')) result.lines.push(block.innerText);
    result.links = element.querySelectorAll('a, em, img').length;
    const first = getComputedStyle(element.querySelector('.ac-textRun'));
    result.bold = Number(first.fontWeight);
    result.heading = first.color;
  } catch (error) { result.problems.push(String(error)); }
  return result;
};
const results = %s.map(render), out = document.createElement('pre');
out.id = 'results';
out.innerText = JSON.stringify(results);
document.body.appendChild(out);
</script>`

// rendered is what a user sees of a card.
type rendered struct {
	Problems []string `json:"problems"`
	Lines    []string `json:"lines"`
	Links    int      `json:"links"`
	Bold     int      `json:"bold"`
	Heading  string   `json:"heading"`
}

// render renders cards in a browser.
func render(t *testing.T, browser string, cards []json.RawMessage) []rendered {
	t.Helper()
	script, err := os.ReadFile(renderer)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "cards.html")
	// In a script, "</script>" and "<!--" of a text would be HTML.
	text := strings.ReplaceAll(string(marshal(cards)), "<", `\u003c`)
	if err := os.WriteFile(file, []byte(fmt.Sprintf(page, script, text)), 0o600); err != nil {
		t.Fatal(err)
	}
	// It opens only this file, so it needs no sandbox, which root and many containers do not have.
	command := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--user-data-dir="+filepath.Join(folder, "profile"), "--dump-dom", "file://"+file)
	command.Env = append(os.Environ(), "HOME="+folder)
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	match := regexp.MustCompile(`(?s)<pre id="results">(.*?)</pre>`).FindSubmatch(output)
	if match == nil {
		t.Fatalf("the page has no results: %s", output[max(0, len(output)-2000):])
	}
	var results []rendered
	if err := json.Unmarshal([]byte(html.UnescapeString(string(match[1]))), &results); err != nil || len(results) != len(cards) {
		t.Fatalf("%v: %s", err, match[1])
	}
	return results
}

// browser returns a browser, or skips the test.
func browser(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat(renderer); err != nil {
		t.Skip("adaptivecards was not fetched (hack/ci/browser-libraries), so no card is rendered")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	t.Skip("chromium is not installed (Debian: apt-get install chromium), so no card is rendered")
	return ""
}

func TestTheRendererOfMicrosoftShowsTheCards(t *testing.T) {
	program := browser(t)
	tests := []struct {
		text  string
		color color
		lines []string
		shown string
	}{
		{"Cleanup of 2 nodes: 1 Failed\nFailed: worker_7_a: critical step drain failed\n\nNext: kubectl nodecleanup status", attention,
			[]string{"Cleanup of 2 nodes: 1 Failed", "Failed: worker_7_a: critical step drain failed", "Next: kubectl nodecleanup status"}, "rgb(192, 255, 238)"},
		{"Node a_b_c\n[click](https://evil.example.com) <img src=x onerror=alert(1)> </script> **b** <at>all</at>", usual,
			[]string{"Node a_b_c", "[click](https://evil.example.com) <img src=x onerror=alert(1)> </script> **b** <at>all</at>"}, "rgb(1, 2, 3)"},
		{"Node a\n" + strings.Repeat("x", 40_000), usual, nil, "rgb(1, 2, 3)"},
	}
	var cards []json.RawMessage
	for i, test := range tests {
		message, problem := parse(encode(test.text, test.color))
		if problem != "" {
			t.Fatal(problem)
		}
		if test.lines == nil { // Too long.
			tests[i].lines = message.lines
		}
		cards = append(cards, message.card)
	}
	for i, got := range render(t, program, cards) {
		test := tests[i]
		if len(got.Problems) > 0 || fmt.Sprintf("%q", got.Lines) != fmt.Sprintf("%q", test.lines) || got.Links > 0 {
			t.Errorf("%d links, problems %q, lines %.300q, want %.300q", got.Links, got.Problems, got.Lines, test.lines)
		}
		if got.Bold < 600 || got.Heading != test.shown {
			t.Errorf("the heading has the weight %d and the color %s", got.Bold, got.Heading)
		}
	}
}

// The test above would prove nothing if the renderer accepted everything.
func TestTheRendererOfMicrosoftReportsMistakes(t *testing.T) {
	program := browser(t)
	var cards []json.RawMessage
	for _, body := range []string{
		`[{"type":"RichText","inlines":[{"type":"TextRun","text":"a"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"b"}]}]`,
		`[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"a","color":"red"}]}]`,
		`[{"type":"TextBlock","text":"[a](https://b)"},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"b"}]}]`,
	} {
		cards = append(cards, json.RawMessage(`{"type":"AdaptiveCard","version":"1.4","body":`+body+`}`))
	}
	for i, got := range render(t, program, cards) {
		if len(got.Problems) == 0 && got.Links == 0 {
			t.Errorf("the renderer reports nothing about %s: %+v", cards[i], got)
		}
	}
}
