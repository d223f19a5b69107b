package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

func node(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }

// listed are nodes that a list returns once it may, and a watch that only the end of ctx ends.
func listed(may <-chan struct{}, answers ...error) *Objects[*corev1.Node] {
	return &Objects[*corev1.Node]{
		What: "nodes",
		List: func(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
			select {
			case <-may:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if len(answers) > 0 {
				err := answers[0]
				answers = answers[1:]
				return nil, err
			}
			return &corev1.NodeList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []corev1.Node{*node("a"), *node("b")}}, nil
		},
		Watch: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			if options.SendInitialEvents != nil {
				return nil, apierrors.NewBadRequest("an older server")
			}
			return watch.NewFake(), nil
		},
	}
}

var now = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// began is the time of the latest bubble.
var began = time.Now().Round(0)

// bubble runs a test by a clock that moves on when all goroutines wait. It begins later than the
// one before: client-go delays an error by when the last one of the process was.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	began = began.Add(time.Hour)
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(began))
		test(t)
	})
}

func TestNothingIsCheckedBeforeAllSourcesAreComplete(t *testing.T) {
	bubble(t, func(t *testing.T) {
		later := make(chan struct{})
		first, second := listed(now), listed(later)
		checked, ended := 0, make(chan error, 1)
		go func() {
			ended <- Watcher{Recheck: time.Second}.Until(t.Context(), func(context.Context) (bool, error) {
				checked++
				if len(first.All()) != 2 || len(second.All()) != 2 || second.Named("a") == nil || second.Named("c") != nil {
					t.Errorf("checked with %d and %d nodes", len(first.All()), len(second.All()))
				}
				return true, nil
			}, first, second)
		}()
		<-time.After(time.Minute)
		if checked > 0 {
			t.Error("it was checked before the second list was complete")
		}
		close(later)
		if err := <-ended; err != nil || checked != 1 {
			t.Errorf("checked %d times, %v", checked, err)
		}
	})
}

func TestListErrorsAreRetriedOrReturned(t *testing.T) {
	forbidden := apierrors.NewForbidden(corev1.Resource("nodes"), "", errors.New("no right"))
	refused := &url.Error{Op: "Get", URL: "https://x", Err: errors.New("connection refused")}
	for name, test := range map[string]struct {
		answers  []error
		want     string // Part of the error, empty for none.
		reported []string
	}{
		"no error":         {nil, "", nil},
		"forbidden":        {[]error{forbidden}, "listing nodes: nodes is forbidden", nil},
		"expired":          {[]error{apierrors.NewResourceExpired("too old")}, "", nil},
		"an outage":        {[]error{refused, refused, io.EOF}, "", []string{"unavailable, retrying: listing nodes: Get", "available again"}},
		"too many":         {[]error{apierrors.NewTooManyRequests("busy", 1)}, "", []string{"unavailable, retrying", "available again"}},
		"outage, 403":      {[]error{refused, forbidden}, "forbidden", []string{"unavailable, retrying"}},
		"permanent outage": {slices.Repeat([]error{refused}, 1000), "connection refused: context deadline exceeded", []string{"unavailable, retrying"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var reported []string
				nodes := listed(now, test.answers...)
				err := Watcher{Report: func(line string) { reported = append(reported, line) }}.Until(ctx, func(context.Context) (bool, error) {
					return len(nodes.All()) == 2, nil
				}, nodes)
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				if !slices.EqualFunc(reported, test.reported, strings.Contains) {
					t.Errorf("reported %q, want %q", reported, test.reported)
				}
			})
		})
	}
}

func TestFailedConditionReadIsReturned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var reported []string
		var unavailable []error
		nodes, tries := listed(now), 0
		err := Watcher{
			Recheck: time.Second, Report: func(line string) { reported = append(reported, line) }, Unavailable: func(err error) { unavailable = append(unavailable, err) },
		}.Until(t.Context(), func(context.Context) (bool, error) {
			switch tries++; tries {
			case 1, 2:
				return false, fmt.Errorf("reading the lease: %w", io.ErrUnexpectedEOF)
			case 3:
				return false, nil
			}
			return true, nil
		}, nodes)
		if want := []string{"retrying: reading the lease", "available again"}; err != nil || tries != 4 || !slices.EqualFunc(reported, want, strings.Contains) {
			t.Errorf("%d tries, %v, reported %q", tries, err, reported)
		}
		if len(unavailable) != 2 || !errors.Is(unavailable[0], io.ErrUnexpectedEOF) || unavailable[1] != nil {
			t.Errorf("unavailable: %v", unavailable)
		}
	})
}

// When half of a cluster is deleted, a change comes more often than changes are gathered for.
func TestContinuousChangesAreShown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const settle = 250 * time.Millisecond
		const changes, between = 100, settle / 2
		ctx, cancel := context.WithCancel(t.Context())
		changed, ended, shown := make(chan struct{}, 1), make(chan error, 1), 0
		go func() {
			ended <- Watcher{Settle: settle}.loop(ctx, changed, nil, func(context.Context) (bool, error) { shown++; return false, nil }, newConnection(Watcher{}))
		}()
		every := time.NewTicker(between)
		defer every.Stop()
		for range changes {
			changed <- struct{}{}
			<-every.C
		}
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
		if shown < changes/4 || shown > changes/2 {
			t.Errorf("%d changes, one every %s, were shown %d times", changes, between, shown)
		}
	})
}

func TestRetry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		notFound := apierrors.NewNotFound(corev1.Resource("nodes"), "a")
		tries := 0
		err := Watcher{}.Retry(t.Context(), func(context.Context) error {
			if tries++; tries < 3 {
				return io.EOF
			}
			return notFound
		})
		if tries != 3 || !errors.Is(err, notFound) {
			t.Errorf("%d tries, %v", tries, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = Watcher{}.Retry(ctx, func(context.Context) error { return io.EOF })
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "unavailable: EOF") {
			t.Errorf("at the end of the time: %v", err)
		}
	})
}
