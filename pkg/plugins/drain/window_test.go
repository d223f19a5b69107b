package drain

import "testing"

func TestWindowGrowsByOneAndHalves(t *testing.T) {
	for name, test := range map[string]struct {
		// answers of the API server: a for accepted, r for refused.
		answers string
		want    int
	}{
		"at the start":                 {"", firstWindow},
		"less than a window":           {"aaa", firstWindow},
		"one window":                   {"aaaaa", firstWindow + 1},
		"two windows":                  {"aaaaaaaaaaa", firstWindow + 2},
		"at most the maximum":          {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", maxWindow},
		"halves after a refusal":       {"r", firstWindow / 2},
		"at least one":                 {"rrrrrrrr", 1},
		"grows again from one":         {"rrrrrrrra", 2},
		"grows slowly after a refusal": {"aaaaaaaaaaara", firstWindow/2 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := &window{firstWindow}
			for _, answer := range test.answers {
				if answer == 'a' {
					w.accepted()
				} else {
					w.refused()
				}
			}
			if got := w.limit(); got != test.want {
				t.Errorf("limit is %d (%.2f), want %d", got, w.size, test.want)
			}
		})
	}
}
