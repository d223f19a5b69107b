package job

import (
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// changes watches one Job.
type changes struct {
	plugin *plugin
	// job is the newest state of the Job.
	job   *batchv1.Job
	watch watch.Interface
}

// start reads the Job and opens the watch, unless it is open.
func (c *changes) start(ctx context.Context) error {
	if c.watch != nil {
		return nil
	}
	jobs := c.plugin.client.BatchV1().Jobs(c.job.Namespace)
	options := metav1.ListOptions{FieldSelector: metav1.ObjectNameField + "=" + c.job.Name}
	list, err := jobs.List(ctx, options)
	if err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	if len(list.Items) != 1 || list.Items[0].UID != c.job.UID {
		return errDeleted
	}
	c.job, options.ResourceVersion = &list.Items[0], list.ResourceVersion
	if c.watch, err = jobs.Watch(ctx, options); err != nil {
		c.watch = nil
		return fmt.Errorf("watching it: %w", err)
	}
	return nil
}

// events returns the changes, or nil if the watch is not open.
func (c *changes) events() <-chan watch.Event {
	if c.watch == nil {
		return nil
	}
	return c.watch.ResultChan()
}

func (c *changes) stop() {
	if c.watch != nil {
		c.watch.Stop()
		c.watch = nil
	}
}

var errDeleted = errors.New("the Job was deleted before the agent read its result; the next attempt creates a new one")

// apply takes a change. If the watch has ended, the next start opens it again.
func (c *changes) apply(event watch.Event, open bool) error {
	if !open || event.Type == watch.Error {
		c.stop() // An error, such as an expired resourceVersion, ends this watch. The next start opens a new one.
		return nil
	}
	changed, is := event.Object.(*batchv1.Job)
	if !is {
		return nil // Not a Job, such as a bookmark.
	}
	if event.Type == watch.Deleted || changed.UID != c.job.UID {
		return errDeleted
	}
	c.job = changed
	return nil
}
