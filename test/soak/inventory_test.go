package soak_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// inventory is the service that step inventory calls: some calls fail, some are late, and at
// times all fail.
type inventory struct {
	*httptest.Server
	t *testing.T

	mutex    sync.Mutex
	random   *rand.Rand
	down     bool
	accepted map[string]int
}

func newInventory(t *testing.T, random *rand.Rand) *inventory {
	i := &inventory{t: t, random: random, accepted: map[string]int{}}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *inventory) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var document struct {
		Node           struct{ UID string }
		IdempotencyKey string
	}
	if err := json.NewDecoder(request.Body).Decode(&document); err != nil {
		return // The agent was killed in the meantime.
	}
	key := request.Header.Get("Idempotency-Key")
	if document.IdempotencyKey != key || key != document.Node.UID+"/inventory" {
		i.t.Errorf("the inventory was called with key %q for %+v", key, document)
	}
	switch fate := i.fate(); {
	case fate < 0.15:
		w.WriteHeader(http.StatusInternalServerError)
	case fate < 0.2:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case fate < 0.25:
		// The call is accepted, and the agent never hears of it.
		i.accept(key)
		panic(http.ErrAbortHandler)
	case fate < 0.3:
		late := time.NewTimer(3 * time.Second) // Later than the step's timeout.
		defer late.Stop()
		select {
		case <-late.C:
		case <-request.Context().Done():
		}
	default:
		i.accept(key)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (i *inventory) fate() float64 {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.down {
		return 0
	}
	return i.random.Float64()
}

func (i *inventory) accept(key string) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.accepted[key]++
}

func (i *inventory) has(key string) bool {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.accepted[key] > 0
}

func (i *inventory) setDown(down bool) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.down = down
}
