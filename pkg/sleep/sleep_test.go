package sleep

import (
	"context"
	"errors"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestFor(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	over := errors.New("over")
	ctx, end := context.WithCancelCause(t.Context())
	ended := make(chan error)
	for _, test := range []struct {
		end  func()
		want error
	}{
		{func() { clock.Step(time.Minute) }, nil},
		{func() { end(over) }, over},
	} {
		go func() { ended <- For(ctx, clock, time.Minute) }()
		for !clock.HasWaiters() {
			select {
			case err := <-ended:
				t.Fatalf("it did not wait: %v", err)
			default:
			}
		}
		test.end()
		if err := <-ended; !errors.Is(err, test.want) {
			t.Errorf("got %v, want %v", err, test.want)
		}
	}
	if clock.HasWaiters() {
		t.Error("the timer was not stopped")
	}
}
