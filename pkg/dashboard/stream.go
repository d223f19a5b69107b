package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

const (
	// maxStreams limits the open streams: one for each visible tab.
	maxStreams = 16
	// minInterval is the shortest time between two events of a stream: people cannot read faster, and a
	// mass deletion changes something all the time.
	minInterval = time.Second
	// keepAlive is how long a stream is silent at most, so that the page notices a process that has ended.
	keepAlive = 15 * time.Second
)

// streams sends each change to the pages that are open.
type streams struct {
	cluster *Cluster
	slots   chan struct{}
}

func (s *Server) newStreams() *streams { return &streams{s.cluster, make(chan struct{}, maxStreams)} }

// event is one message of a stream: the whole status, and the revision of what is read separately.
type event struct {
	Revision uint64          `json:"revision"`
	Status   *printer.Status `json:"status,omitempty"`
	// Problem is why the newest state is not known; Status is then the last one that was read.
	Problem string `json:"problem,omitempty"`
}

// serve sends the state, and then every change, as server-sent events (HTML Living Standard, 9.2) until the page
// closes the stream.
func (s *streams) serve(response http.ResponseWriter, request *http.Request) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		refuse(response, http.StatusServiceUnavailable, fmt.Sprintf("%d tabs show the dashboard already; close one", maxStreams))
		return
	}
	response.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(response)
	send := func(text string) error {
		if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := response.Write([]byte(text)); err != nil {
			return err
		}
		return control.Flush()
	}
	for {
		now := s.cluster.read()
		text, err := json.Marshal(event{now.revision, now.status, now.problem})
		if err != nil {
			panic(err) // A status can always be encoded.
		}
		if send("data: "+string(text)+"\n\n") != nil {
			return // The page was closed.
		}
		if !s.wait(request, now.changed, func() bool { return send(": still here\n\n") == nil }) {
			return
		}
	}
}

// wait returns true after the next change, not earlier than the interval, and false if the page was closed. Alive is
// called while nothing changes.
func (s *streams) wait(request *http.Request, changed <-chan struct{}, alive func() bool) bool {
	interval := time.NewTimer(minInterval)
	defer interval.Stop()
	select {
	case <-request.Context().Done():
		return false
	case <-interval.C:
	}
	silent := time.NewTicker(keepAlive)
	defer silent.Stop()
	for {
		select {
		case <-request.Context().Done():
			return false
		case <-changed:
			return true
		case <-silent.C:
			if !alive() {
				return false
			}
		}
	}
}
