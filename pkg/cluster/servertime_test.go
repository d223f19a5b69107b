package cluster

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestServerTime(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		date, want string
	}{
		"the clocks agree":            {noon.Format(http.TimeFormat), "12:00:00"},
		"within the header's seconds": {noon.Add(-2 * time.Second).Format(http.TimeFormat), "12:00:00"},
		"the server is ahead":         {noon.Add(20 * time.Second).Format(http.TimeFormat), "12:00:20"},
		"the server is behind":        {noon.Add(-10 * time.Minute).Format(http.TimeFormat), "11:50:00"},
		"no Date header":              {"", "12:00:00"},
		"invalid Date header":         {"yesterday", "12:00:00"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"] = []string{test.date}
		}))
		clock := &ServerTime{Local: func() time.Time { return noon }}
		if clock.Now() != noon {
			t.Errorf("%s: before a response it is %s", name, clock.Now())
		}
		client := http.Client{Transport: clock.Wrap(http.DefaultTransport)}
		response, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		server.Close()
		if got := clock.Now().Format(time.TimeOnly); got != test.want {
			t.Errorf("%s: it is %s, want %s", name, got, test.want)
		}
	}
}

// The round trip time of a response limits the error of its time.
func TestSlowResponseIsNoWrongClock(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	clock := &ServerTime{Local: func() time.Time { return noon }}
	clock.observe(noon.Add(20*time.Second), noon, noon.Add(25*time.Second))
	if clock.Now() != noon {
		t.Errorf("it is %s", clock.Now())
	}
	clock.observe(noon.Add(time.Minute), noon, noon.Add(25*time.Second))
	if clock.Now() == noon {
		t.Error("a minute is not noticed")
	}
}
