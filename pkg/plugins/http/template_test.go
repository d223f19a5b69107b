package http

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// hostile returns a target whose labels are what a compromised kubelet could write.
func hostile() cleanup.Target {
	target := target()
	target.Node.Labels = map[string]string{"rack": `r7"},{"all":true<&+ /../x?y=z#`, "number": "1, 2"}
	target.Outputs = map[string]map[string]string{"open": {"number": "INC 1"}}
	return target
}

func TestTemplatesAreEscaped(t *testing.T) {
	for name, test := range map[string]struct{ options, url, body, contentType string }{
		"path and query": {
			`"url":"%s/nodes/${node.labels['rack']}?ticket=${steps.open.outputs.number}"`,
			"/nodes/r7%22%7D%2C%7B%22all%22%3Atrue%3C%26%2B%20%2F..%2Fx%3Fy%3Dz%23?ticket=INC%201", "", "application/json",
		},
		"JSON": {
			`"url":"%s","body":"{\"rack\":\"${node.labels['rack']}\",\"attempt\":${step.attempt}}"`,
			"/", `{"rack":"r7\"},{\"all\":true\u003c\u0026+ /../x?y=z#","attempt":2}`, "application/json",
		},
		"JSON of another type": {
			`"url":"%s","contentType":"application/merge-patch+json","body":"\"${node.labels['rack']}\""`,
			"/", `"r7\"},{\"all\":true\u003c\u0026+ /../x?y=z#"`, "application/merge-patch+json",
		},
		"form": {
			`"url":"%s","contentType":"application/x-www-form-urlencoded","body":"rack=${node.labels['rack']}"`,
			"/", "rack=r7%22%7D%2C%7B%22all%22%3Atrue%3C%26%2B+%2F..%2Fx%3Fy%3Dz%23", "application/x-www-form-urlencoded",
		},
		"XML": {
			`"url":"%s","contentType":"text/xml; charset=utf-8","body":"<rack>${node.labels['rack']}</rack>"`,
			"/", "<rack>r7&#34;},{&#34;all&#34;:true&lt;&amp;+ /../x?y=z#</rack>", "text/xml; charset=utf-8",
		},
		"text": {
			`"url":"%s","contentType":"text/plain","body":"${steps.open.outputs.number}"`,
			"/", "INC 1", "text/plain",
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, last, sent := serve(t, 200, nil, "")
			if err := bind(t, nil, "{"+test.options+"}", url).Cleanup(t.Context(), hostile()); err != nil {
				t.Fatal(err)
			}
			if last.RequestURI != test.url || last.Header.Get("Content-Type") != test.contentType {
				t.Errorf("sent to %s as %s", last.RequestURI, last.Header.Get("Content-Type"))
			}
			if test.body != "" && *sent != test.body {
				t.Errorf("sent %s, want %s", *sent, test.body)
			}
		})
	}
}

func TestAHeaderIsATemplate(t *testing.T) {
	url, last, _ := serve(t, 200, nil, "")
	plugin := bind(t, nil, `{"url":%q,"headers":{"X-Node":"${node.name}"}}`, url)
	if err := plugin.Cleanup(t.Context(), target()); err != nil || last.Header.Get("X-Node") != "worker" {
		t.Errorf("%v, sent %q", err, last.Header.Get("X-Node"))
	}
}

func TestAnUnquotedValueCannotAddToTheBody(t *testing.T) {
	url, _, sent := serve(t, 200, nil, "")
	*sent = "nothing"
	err := bind(t, nil, `{"url":%q,"body":"{\"n\": ${node.labels['number']}}"}`, url).Cleanup(t.Context(), hostile())
	if !cleanup.IsPermanent(err) || *sent != "nothing" {
		t.Errorf("%v, sent %s", err, *sent)
	}
}

func TestTemplatesAreCheckedWhenTheConfigIsRead(t *testing.T) {
	for options, want := range map[string]string{
		`{"url":"https://x/${node.nam}"}`:                                     "url: has the unknown reference ${node.nam}",
		`{"url":"https://${node.labels['a/b']}/x"}`:                           "url: the host must not contain ${node.labels}",
		`{"url":"https://x:${node.labels['port']}/"}`:                         "url: the host must not contain",
		`{"url":"${node.annotations['url']}"}`:                                "url: is not a URL",
		`{"url":"https://x","headers":{"A":"${x}"}}`:                          "headers.A: has the unknown reference",
		`{"url":"https://x","body":"{\"a\": }"}`:                              "body: is not valid JSON",
		`{"url":"https://x","body":"${x}"}`:                                   "body: has the unknown reference",
		`{"url":"https://x","contentType":"text/plain"}`:                      "contentType: needs body",
		`{"url":"https://x","body":"a","contentType":"a b"}`:                  `contentType: "a b" is not a valid media type`,
		`{"url":"https://x","outputs":{"a b":".x"}}`:                          `outputs: recording output "a b"`,
		`{"url":"https://x","outputs":{"a":"{.x"}}`:                           "outputs.a: parsing the JSONPath",
		`{"url":"https://x","expectStatus":[7]}`:                              "expectStatus[0]: 7 is not an HTTP status code",
		`{"url":"https://x","expectStatus":[202],"alsoAccept":[404]}`:         "expectStatus: cannot be combined with alsoAccept",
		`{"url":"https://${node.name}.bmc/a","body":"a","contentType":"a/b"}`: "",
	} {
		_, faults := Descriptor(nil, nil).Bind([]byte(options))
		text := ""
		for _, fault := range faults {
			text += fault.Error() + "\n"
		}
		if want == "" && text != "" || !strings.Contains(text, want) {
			t.Errorf("%s: %q, want %q", options, text, want)
		}
	}
}

func TestExpectStatusReplacesTheSuccesses(t *testing.T) {
	for status, ok := range map[int]bool{202: true, 404: true, 200: false, 204: false} {
		url, _, _ := serve(t, status, nil, "")
		err := bind(t, nil, `{"url":%q,"expectStatus":[202,404]}`, url).Cleanup(t.Context(), target())
		if (err == nil) != ok {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestHealthWithTemplates(t *testing.T) {
	url, _, sent := serve(t, 200, nil, "")
	*sent = "nothing"
	for _, options := range []string{
		`{"url":"` + url + `/${steps.open.outputs.number}","body":"\"${steps.open.outputs.number}\""}`,
		`{"url":"https://${node.name}.invalid"}`,
	} {
		plugin := bind(t, nil, "%s", options)
		if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil || *sent != "nothing" {
			t.Errorf("%s: %v, sent %s", options, err, *sent)
		}
	}
	effects, err := bind(t, nil, `{"url":"https://me:pass@${node.name}.bmc/x","body":"1"}`).(cleanup.Previewer).Preview(t.Context(), target())
	if err != nil || effects[0].Object.Name != "https://${node.name}.bmc" || effects[0].Reason != "POST the configured body for node worker" {
		t.Errorf("the preview is %+v, %v", effects, err)
	}
}

func TestOutputsOfAnAnswer(t *testing.T) {
	const options = `"outputs":{"number":"{.result.number}","count":".count","first":"{.list[0].id}","absent":"{.nothing}","many":"{.result.long}"}`
	for body, want := range map[string]string{
		`{"result":{"number":"INC1"},"count":12345678901234567890,"list":[{"id":true}]}`: `{"count":"12345678901234567890","first":"true","number":"INC1"}`,
		`{"result":{"number":"a\nb","long":"` + strings.Repeat("x", 2000) + `"}}`:        `{}`,
		`{"result":{"number":"INC1"},"pad":"` + strings.Repeat("x", maxAnswer) + `"}`:    `{}`,
		"no JSON": `{}`,
		"":        `{}`,
		"[]":      `{}`,
		"null":    `{}`,
	} {
		url, _, _ := serve(t, 200, nil, body)
		recorded := map[string]string{}
		target := target()
		target.Recorded = func(name, value string) error { recorded[name] = value; return nil }
		var log bytes.Buffer
		target.Log = slog.New(slog.NewTextHandler(&log, nil))
		plugin := bind(t, nil, `{"url":%q,`+options+`}`, url)
		if err := plugin.Cleanup(t.Context(), target); err != nil {
			t.Errorf("%.60s: %v", body, err)
		}
		got, err := json.Marshal(recorded)
		if err != nil || string(got) != want {
			t.Errorf("%.60s: recorded %s, %v, want %s", body, got, err, want)
		}
		if !strings.Contains(log.String(), "output") {
			t.Errorf("%.60s: the log does not say what is missing: %s", body, log.String())
		}
		if names := plugin.(cleanup.OutputNamer).OutputNames(); len(names) != 5 {
			t.Errorf("the names are %q", names)
		}
	}
}

// An answer that does not end delays the step, and fails nothing: the other system has done its work.
func TestAnEndlessAnswerHasNoOutputs(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		writer.WriteHeader(http.StatusOK)
		for request.Context().Err() == nil {
			if _, err := io.WriteString(writer, strings.Repeat(" ", 4096)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	began := time.Now()
	if err := bind(t, nil, `{"url":%q,"outputs":{"a":".a"}}`, server.URL).Cleanup(t.Context(), target()); err != nil || time.Since(began) > outputsTimeout {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

func FuzzOutputs(f *testing.F) {
	for _, seed := range [][2]string{{"{.a.b}", `{"a":{"b":1}}`}, {"{..a}", `[[{"a":1}]]`}, {"{.a[?(@.b==1)].c}", `{"a":[{"b":1,"c":2}]}`}, {"{range .a[*]}{.b}{end}", `{"a":[{"b":1}]}`}, {"{.a[1:9:2]}", `{"a":[1,2]}`}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, path, body string) {
		if _, err := parsePath("x", path); err != nil {
			return
		}
		var answer any
		if json.Unmarshal([]byte(body), &answer) == nil {
			if value, err := find("x", path, answer); err == nil && value == "" {
				t.Errorf("%q of %s is empty", path, body)
			}
		}
	})
}
