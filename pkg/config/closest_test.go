package config

import "testing"

func TestClosest(t *testing.T) {
	known := []string{"drain", "http", "logger", "volumes"}
	for word, want := range map[string]string{
		"drian": "drain", "Drain": "drain", "loger": "logger", "volume": "volumes", "https": "http", "htp": "http",
		"slack": "", "": "", "d": "", "drainage": "",
	} {
		if got := Closest(word, known); got != want {
			t.Errorf("for %q: %q, want %q", word, got, want)
		}
	}
}
