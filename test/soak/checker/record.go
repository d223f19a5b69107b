package checker

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// record has the fields of a run record that the documents describe.
type record struct {
	Node                string       `json:"node"`
	NodeUID             types.UID    `json:"nodeUID"`
	State               string       `json:"state"`
	Message             string       `json:"message"`
	DryRun              bool         `json:"dryRun"`
	BypassReason        string       `json:"bypassReason"`
	DeletionRequestedAt *metav1.Time `json:"deletionRequestedAt"`
	FinishedAt          *metav1.Time `json:"finishedAt"`
	Steps               []step       `json:"steps"`

	// since is the last write of it.
	since mark
	raw   string
}

type step struct {
	Name       string       `json:"name"`
	State      string       `json:"state"`
	Critical   bool         `json:"critical"`
	FinishedAt *metav1.Time `json:"finishedAt"`
}

func (r *record) step(name string) *step {
	for i := range r.Steps {
		if r.Steps[i].Name == name {
			return &r.Steps[i]
		}
	}
	return nil
}

// String returns the stored form of the record.
func (r *record) String() string {
	if r == nil {
		return "missing"
	}
	return r.raw
}

func (c *Checker) record(here mark, configMap *corev1.ConfigMap, deleted bool) {
	if configMap.Namespace != c.options.Namespace || !strings.HasPrefix(configMap.Name, "run-") {
		return
	}
	uid := types.UID(configMap.Labels["nodecleanup.io/node-uid"])
	if deleted {
		delete(c.records, uid)
		c.lost[uid] = here
		return
	}
	read := &record{since: here, raw: configMap.Data["run.json"]}
	if err := json.Unmarshal([]byte(read.raw), read); err != nil {
		c.report.Violations = append(c.report.Violations, Finding{here.revision, configMap.Name, uid, fmt.Sprintf("the run record cannot be read: %v: %s", err, read.raw)})
		return
	}
	if read.NodeUID != uid {
		c.report.Violations = append(c.report.Violations, Finding{here.revision, read.Node, uid, "the run record is about another node than its label: " + read.raw})
	}
	c.records[uid] = read
}

// Open returns the records with a cleanup in progress although their Node is deleted.
func (c *Checker) Open() []string {
	live := map[types.UID]bool{}
	for _, node := range c.nodes {
		live[node.UID] = true
	}
	var open []string
	for uid, record := range c.records {
		ended := record.FinishedAt != nil && slices.Contains([]string{"Succeeded", "Bypassed", "Failed", "Canceled"}, record.State)
		if !live[uid] && !ended {
			open = append(open, record.raw)
		}
	}
	return open
}
