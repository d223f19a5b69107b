package http

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

const jsonType = "application/json"

// checkURL checks the template of a URL.
func checkURL(text string) error {
	template, err := cleanup.NewTemplate(text)
	if err != nil {
		return err
	}
	if _, err := httpclient.ParseURL(httpclient.Sample(template)); err != nil {
		return err
	}
	// The kubelet of a Node can write most labels and annotations: they must not choose where credentials
	// are sent to.
	for _, reference := range hostReferences(text) {
		if reference.Name != "node.name" {
			return fmt.Errorf("the host must not contain ${%s}: it can contain ${node.name} only", reference.Name)
		}
	}
	return nil
}

// hostReferences returns the references in the scheme and the host of a URL.
func hostReferences(text string) []cleanup.Reference {
	scheme, host := origin(text)
	template, err := cleanup.NewTemplate(scheme + "://" + host)
	if err != nil {
		return nil // The caller has parsed the whole text.
	}
	return template.References()
}

// origin returns the scheme and the host of the template of a URL as written, without user and
// password. A slash inside a reference belongs to the key of a label.
func origin(text string) (scheme, host string) {
	scheme, rest, _ := strings.Cut(text, "://")
	inside := false
	end := strings.IndexFunc(rest, func(r rune) bool {
		inside = (inside || r == '{') && r != '}'
		return !inside && strings.ContainsRune(`/?#\`, r)
	})
	if end >= 0 {
		rest = rest[:end]
	}
	return scheme, rest[strings.LastIndex(rest, "@")+1:]
}

// bodyProblem returns the fault of the body, or "".
func (o *options) bodyProblem() string {
	if problem := o.Body.Problem(); problem != "" {
		return problem
	}
	if text := httpclient.Sample(o.Body); !o.Body.Empty() && o.bodyType() == jsonType {
		if err := json.Unmarshal([]byte(text), new(any)); err != nil {
			return fmt.Sprintf("is not valid JSON: %v; for another format set contentType", err)
		}
	}
	return ""
}

// bodyType returns the media type of the body without parameters. It is application/json for every type
// whose syntax is JSON, and application/xml for every type whose syntax is XML (RFC 6838, 4.2.8).
func (o *options) bodyType() string {
	kind, _, err := mime.ParseMediaType(cmp.Or(o.ContentType, jsonType))
	switch {
	case err != nil:
		return ""
	case strings.HasSuffix(kind, "+json"):
		return jsonType
	case kind == "text/xml", strings.HasSuffix(kind, "+xml"):
		return xmlType
	}
	return kind
}

const (
	xmlType  = "application/xml"
	formType = "application/x-www-form-urlencoded"
)

// expandBody returns the body of one request.
func (o *options) expandBody(expand expand) ([]byte, error) {
	escape := map[string]func(string) string{jsonType: httpclient.EscapeJSON, xmlType: escapeXML, formType: url.QueryEscape}[o.bodyType()]
	text, err := expand(o.Body, escape)
	if err != nil {
		return nil, fmt.Errorf("expanding the body: %w", err)
	}
	if o.bodyType() == jsonType && !json.Valid([]byte(text)) {
		return nil, cleanup.Permanent(errors.New("expanding the body: the result is not valid JSON: put the references between quotes"))
	}
	return []byte(text), nil
}

func escapeXML(value string) string {
	var text bytes.Buffer
	if err := xml.EscapeText(&text, []byte(value)); err != nil {
		panic(fmt.Sprintf("writing to memory cannot fail: %v", err))
	}
	return text.String()
}
