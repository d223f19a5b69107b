package grafana

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// path is the collection of annotations: https://grafana.com/docs/grafana/latest/developer-resources/api-reference/http-api/annotations/.
// Grafana 13 deprecates /api in favor of /apis, whose annotations are still alpha.
const path = "api/annotations"

// maxFound is the maximum number of annotations of one Node and correlation that are read. Grafana returns the newest
// first.
const maxFound = 100

// annotation is an annotation as Grafana returns it. Times are in milliseconds since 1970.
type annotation struct {
	ID   int64 `json:"id"`
	Time int64 `json:"time"`
	// TimeEnd is Time, or 0 with newer storages, if the annotation is no region.
	TimeEnd int64    `json:"timeEnd"`
	Tags    []string `json:"tags"`
	Text    string   `json:"text"`
}

// isRegion reports whether the annotation has an end.
func (a annotation) isRegion() bool { return a.TimeEnd > a.Time }

// newAnnotation is the request that creates an annotation.
type newAnnotation struct {
	DashboardUID string   `json:"dashboardUID,omitempty"`
	PanelID      int64    `json:"panelId,omitempty"`
	Time         int64    `json:"time"`
	TimeEnd      int64    `json:"timeEnd,omitempty"`
	Tags         []string `json:"tags"`
	Text         string   `json:"text"`
}

// change is the request that changes an annotation. Grafana ignores what is empty.
type change struct {
	TimeEnd int64  `json:"timeEnd,omitempty"`
	Text    string `json:"text,omitempty"`
}

// done is the answer to a change. Decoding it detects a proxy that answers in place of Grafana.
type done struct {
	Message string `json:"message"`
}

func newAPI(o options, client *http.Client, secrets cleanup.Secrets) *httpclient.API {
	return &httpclient.API{
		System: "Grafana", URL: o.URL, Client: client, Secrets: secrets, TLS: httpclient.TLS{CABundle: o.CABundle},
		Credentials: httpclient.Header(secrets, "Authorization", "Bearer ", o.Token),
		Message: func(answer []byte) string {
			var failure done
			if json.Unmarshal(answer, &failure) != nil {
				return ""
			}
			return failure.Message
		},
	}
}

// find returns the annotations that have all of the tags, the newest first. Grafana's own filter is not exact: a tag
// without a value finds every tag with that key (pkg/services/annotations/annotationsimpl/xorm_store.go).
func (p *plugin) find(ctx context.Context, tags []string, limit int) ([]annotation, error) {
	query := url.Values{"type": {"annotation"}, "tags": tags, "limit": {strconv.Itoa(limit)}}
	if p.DashboardUID != "" {
		// Grafana refuses an unknown dashboard here, but not when an annotation is created: that would become one of the
		// whole organization.
		query.Set("dashboardUID", p.DashboardUID)
	}
	var found []annotation
	if err := p.api.Call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &found); err != nil {
		return nil, fmt.Errorf("looking up the annotation: %w", err)
	}
	found = slices.DeleteFunc(found, func(a annotation) bool {
		return slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(a.Tags, tag) })
	})
	slices.SortFunc(found, func(a, b annotation) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(b.ID, a.ID))
	})
	return found, nil
}

// create creates an annotation; timeEnd is 0 if it is no region yet.
func (p *plugin) create(ctx context.Context, target cleanup.Target, time, timeEnd int64) error {
	text, err := p.text(target)
	if err != nil {
		return err
	}
	document := newAnnotation{
		DashboardUID: p.DashboardUID, PanelID: p.PanelID, Time: time, TimeEnd: timeEnd, Text: text,
		Tags: append(p.identity(string(target.Node.UID)), p.Tags...),
	}
	if err := p.api.Call(ctx, http.MethodPost, path, document, &done{}); err != nil {
		return fmt.Errorf("creating the annotation: %w", err)
	}
	return nil
}

// change changes an annotation.
func (p *plugin) change(ctx context.Context, id int64, document change) error {
	if err := p.api.Call(ctx, http.MethodPatch, path+"/"+strconv.FormatInt(id, 10), document, &done{}); err != nil {
		return fmt.Errorf("changing annotation %d: %w", id, err)
	}
	return nil
}
