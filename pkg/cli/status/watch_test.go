package status

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// When half of a cluster goes, a change comes more often than changes are gathered for. The
// clock is the test's: it goes on when everybody waits for it.
func TestChangesWithoutEndAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &live{known: map[string]*corev1.Node{}, records: map[string]*corev1.ConfigMap{}}
		nodes, ended, pictures := make(chan watch.Event), make(chan error, 1), 0
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			ended <- l.loop(ctx, nodes, nil, func() error { pictures++; return nil })
		}()
		const changes, between = 100, settle / 2
		every := time.NewTicker(between)
		defer every.Stop()
		for i := range changes {
			nodes <- watch.Event{Type: watch.Added, Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i), Finalizers: []string{api.Finalizer}}}}
			<-every.C
		}
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
		if pictures < changes/4 || pictures > changes/2 {
			t.Errorf("%d changes, one every %s, gave %d pictures", changes, between, pictures)
		}
	})
}
