package drain

import "testing"

func TestWindowGrowsByOneAndHalves(t *testing.T) {
	for name, test := range map[string]struct {
		// answers of the API server: a for accepted, r for refused.
		answers string
		want    int
	}{
		"at the start":               {"", firstWindow},
		"not a whole window yet":     {"aaa", firstWindow},
		"a window":                   {"aaaaa", firstWindow + 1},
		"two windows":                {"aaaaaaaaaaa", firstWindow + 2},
		"never more than the last":   {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", maxWindow},
		"half after a refusal":       {"r", firstWindow / 2},
		"one at least":               {"rrrrrrrr", 1},
		"grows again from one":       {"rrrrrrrra", 2},
		"not at once to what it was": {"aaaaaaaaaaara", firstWindow/2 + 1},
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
