package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"golang.org/x/time/rate"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// kind is a kind of requests that Azure limits separately.
type kind string

const (
	reads   kind = "reads"
	deletes kind = "deletes"
)

// limit holds back the requests for one subscription, for all Nodes together. Azure Resource Manager allows bursts of
// 250 reads and 200 deletes, and then 25 and 10 per second
// (https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling).
type limit struct {
	rates map[kind]*rate.Limiter
	now   func() time.Time
	mutex sync.Mutex
	// until is when Azure accepts requests again. A request before that is refused, and Azure then asks for a new wait.
	until map[kind]time.Time
}

func newLimit() *limit {
	return &limit{
		rates: map[kind]*rate.Limiter{reads: rate.NewLimiter(25, 250), deletes: rate.NewLimiter(10, 200)},
		now:   time.Now,
		until: map[kind]time.Time{},
	}
}

// do calls a function that sends one request, and returns its error for operators. It sends none while Azure has asked
// to wait: the error then says for how long.
func (l *limit) do(ctx context.Context, what kind, send func() error) error {
	if wait := l.wait(what); wait > 0 {
		return cleanup.RetryAfter(fmt.Errorf("waiting %s, because Azure limits the rate of %s", wait.Round(time.Second), what), wait)
	}
	if err := l.rates[what].Wait(ctx); err != nil {
		return fmt.Errorf("waiting, because Azure limits the rate of %s: %w", what, err)
	}
	err := send()
	classified := classify(err)
	var answered *azcore.ResponseError
	if delay, given := cleanup.RetryDelay(classified); given && errors.As(err, &answered) && answered.StatusCode == http.StatusTooManyRequests &&
		answered.ErrorCode != anotherOperation {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		if until := l.now().Add(delay); until.After(l.until[what]) {
			l.until[what] = until
		}
	}
	return classified
}

func (l *limit) wait(what kind) time.Duration {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.until[what].Sub(l.now())
}
