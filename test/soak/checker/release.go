package checker

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// released checks a Node that loses the finalizer, or is deleted, at this revision.
func (c *Checker) released(here mark, node *corev1.Node) {
	if !protected(node) {
		// It was released before, and the last finalizer of another controller was removed now. Or it
		// never was protected.
		if record := c.records[node.UID]; record == nil && c.declared[node.UID] == "" {
			c.violation(here, node, "the node is deleted without the finalizer and without a run record")
		}
		return
	}
	if c.declared[node.UID] != "" {
		c.report.Overridden++
		return
	}
	record := c.records[node.UID]
	switch {
	case bypassed(node, here.at) && (record == nil || record.State != "Succeeded"):
		c.report.Bypassed++
		if record == nil || record.State != "Bypassed" {
			c.violation(here, node, "the cleanup was bypassed, and the record is %s", record)
		}
		return
	case record == nil:
		if lost, was := c.lost[node.UID]; was && here.at.Sub(lost.at) < c.options.Window {
			c.report.Races = append(c.report.Races, Finding{here.revision, node.Name, node.UID, "the run record was deleted just before"})
			return
		}
		c.violation(here, node, "there is no run record")
		return
	}
	c.report.Released++
	c.checkRecord(here, node, record)
	c.checkCalls(here, node)
	c.checkPods(here, node, record)
	c.checkAttachments(here, node, record)
	if since, is := c.uncordoned[node.Name]; is {
		c.found(here, node, record, since, "the node is schedulable")
	}
}

func (c *Checker) checkRecord(here mark, node *corev1.Node, record *record) {
	if record.State != "Succeeded" || record.FinishedAt == nil || record.DryRun || record.BypassReason != "" {
		c.violation(here, node, "the record is not that of a cleanup that is done: %s", record)
	}
	if record.DeletionRequestedAt == nil || !record.DeletionRequestedAt.Time.Equal(node.DeletionTimestamp.Time) {
		c.violation(here, node, "the record is about another deletion than that at %s: %s", node.DeletionTimestamp.UTC().Format(time.RFC3339), record)
	}
	for _, name := range c.options.Steps {
		if step := record.step(name); step == nil || step.State != "Succeeded" || !step.Critical || step.FinishedAt == nil {
			c.violation(here, node, "critical step %s is not done: %s", name, record)
		}
	}
}

func (c *Checker) checkCalls(here mark, node *corev1.Node) {
	for _, step := range c.options.Calls {
		if key := string(node.UID) + "/" + step; !c.options.Called(key) {
			c.violation(here, node, "the service has never accepted a call with the idempotency key %s", key)
		}
	}
}

func (c *Checker) checkPods(here mark, node *corev1.Node, record *record) {
	for _, pod := range c.podsOf(node.Name) {
		if !drainable(pod.Pod, node, here.at) {
			continue
		}
		how := "by its creator"
		if pod.scheduled {
			how = "by the scheduler"
		}
		state := string(pod.Status.Phase)
		if pod.DeletionTimestamp != nil {
			state += ", terminating"
		}
		c.found(here, node, record, pod.since, "pod %s/%s is on it (%s), bound %s", pod.Namespace, pod.Name, state, how)
	}
}

func (c *Checker) podsOf(node string) []*bound {
	var pods []*bound
	for _, pod := range c.pods {
		if pod.Spec.NodeName == node {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *bound) int { return int(a.since.revision - b.since.revision) })
	return pods
}

func (c *Checker) checkAttachments(here mark, node *corev1.Node, record *record) {
	for _, attachment := range c.attachments {
		if attachment.Spec.NodeName == node.Name {
			c.found(here, node, record, attachment.since, "volumeattachment %s still exists", attachment.Name)
		}
	}
}

// found reports an object on a released Node. It is a violation if the object existed before the
// verification, and otherwise a race.
func (c *Checker) found(here mark, node *corev1.Node, record *record, since mark, format string, values ...any) {
	what := fmt.Sprintf(format, values...)
	what += fmt.Sprintf(", since revision %d, %s before the release", since.revision, here.at.Sub(since.at).Round(time.Millisecond))
	what += fmt.Sprintf("; the record ended at revision %d, %s before the release", record.since.revision, here.at.Sub(record.since.at).Round(time.Millisecond))
	finding := Finding{here.revision, node.Name, node.UID, what}
	if since.revision > record.since.revision || record.since.at.Sub(since.at) < c.options.Window {
		c.report.Races = append(c.report.Races, finding)
		return
	}
	c.report.Violations = append(c.report.Violations, finding)
}

func (c *Checker) violation(here mark, node *corev1.Node, format string, values ...any) {
	c.report.Violations = append(c.report.Violations, Finding{here.revision, node.Name, node.UID, fmt.Sprintf(format, values...)})
}
