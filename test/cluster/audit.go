package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// AuditEvent is the API server's audit event of one request, without bodies: a flat form of the
// Event in k8s.io/apiserver.
type AuditEvent struct {
	ID        string
	Stage     string // ResponseComplete; ResponseStarted for a watch that continues; Panic
	Verb      string // as in RBAC: get, list, watch, create, update, patch, delete, deletecollection; or the HTTP verb
	URI       string // path and query
	User      string
	Groups    []string
	AsUser    string // the impersonated user; empty without impersonation
	UserAgent string

	// The resource of the request; empty for a path that is not a resource.
	APIGroup, Resource, Subresource, Namespace, Name string

	Code        int // HTTP status; 0 in a stage before there is one
	Received    time.Time
	At          time.Time // when this stage was reached
	Annotations map[string]string
}

// AuditMark is a place in the audit log.
type AuditMark int64

// AuditMark returns the current end of the audit log. AuditSince(mark) returns the later events.
func (c *Cluster) AuditMark() (AuditMark, error) {
	_, end, err := c.readAudit(0)
	return end, err
}

// AuditLog returns every event so far, oldest first. The event of a request is logged before its
// response arrives.
func (c *Cluster) AuditLog() ([]AuditEvent, error) { return c.AuditSince(0) }

// AuditSince returns the events after the mark, oldest first.
func (c *Cluster) AuditSince(mark AuditMark) ([]AuditEvent, error) {
	lines, _, err := c.readAudit(mark)
	if err != nil {
		return nil, err
	}
	var events []AuditEvent
	for line := range bytes.Lines(lines) {
		event, err := parseAuditEvent(line)
		if err != nil {
			return nil, fmt.Errorf("parsing the audit log: %w: %s", err, line)
		}
		events = append(events, event)
	}
	return events, nil
}

// readAudit returns the complete lines after the mark, and their end. Data after the last newline
// is an incomplete event.
func (c *Cluster) readAudit(mark AuditMark) ([]byte, AuditMark, error) {
	content, err := readFrom(c.layout.auditLog(), int64(mark))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, mark, nil
	}
	if err != nil {
		return nil, mark, fmt.Errorf("reading the audit log: %w", err)
	}
	content = content[:bytes.LastIndexByte(content, '\n')+1]
	return content, mark + AuditMark(len(content)), nil
}

func parseAuditEvent(line []byte) (AuditEvent, error) {
	// A killed API server can leave half an event, and the next one continues in the same line.
	if start := bytes.LastIndex(line, []byte(`{"kind":"Event"`)); start > 0 {
		line = line[start:]
	}
	var wire struct {
		AuditID    string `json:"auditID"`
		Stage      string `json:"stage"`
		Verb       string `json:"verb"`
		RequestURI string `json:"requestURI"`
		User       struct {
			Username string   `json:"username"`
			Groups   []string `json:"groups"`
		} `json:"user"`
		ImpersonatedUser struct {
			Username string `json:"username"`
		} `json:"impersonatedUser"`
		UserAgent string `json:"userAgent"`
		ObjectRef struct {
			APIGroup    string `json:"apiGroup"`
			Resource    string `json:"resource"`
			Subresource string `json:"subresource"`
			Namespace   string `json:"namespace"`
			Name        string `json:"name"`
		} `json:"objectRef"`
		ResponseStatus struct {
			Code int `json:"code"`
		} `json:"responseStatus"`
		RequestReceivedTimestamp time.Time         `json:"requestReceivedTimestamp"`
		StageTimestamp           time.Time         `json:"stageTimestamp"`
		Annotations              map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(line, &wire); err != nil {
		return AuditEvent{}, err
	}
	return AuditEvent{
		ID: wire.AuditID, Stage: wire.Stage, Verb: wire.Verb, URI: wire.RequestURI,
		User: wire.User.Username, Groups: wire.User.Groups, AsUser: wire.ImpersonatedUser.Username, UserAgent: wire.UserAgent,
		APIGroup: wire.ObjectRef.APIGroup, Resource: wire.ObjectRef.Resource, Subresource: wire.ObjectRef.Subresource,
		Namespace: wire.ObjectRef.Namespace, Name: wire.ObjectRef.Name,
		Code: wire.ResponseStatus.Code, Received: wire.RequestReceivedTimestamp, At: wire.StageTimestamp,
		Annotations: wire.Annotations,
	}, nil
}
