package admission

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzScanner: what the scanner takes for JSON is what jsontext takes for it.
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{
		question(), "", " ", "null", "nul", "tru", "false ", "-", "-0", "00", "1.", "1.5e+7", "1e", ".5", "-1E-2x", `"`, `"a`, `"a"`, `"\`, `"\"`, `"\u00e9"`, `"\ud83d\ude00"`, `"\ud83d"`,
		`"\x"`, "\"\x1f\"", "\"\x7f\"", "\"é, twice: é\"", "\"\xff\"", "[]", "[1,]", "[1 2]", "[,]", "{}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a" : [ {"b":{}} , true ] }`, "{1:2}", `{"\u0061":1,"a":2}`, `{"\ud83d":1}`,
		"[] []", "\ufeff[]", `"01234567"`, `"0123456` + "\n" + `"`, `"01234567\n012345678"`, `"ab` + "\x1f" + `!"`, strings.Repeat("[", 99) + strings.Repeat("]", 99), "[}", "{]", "[[]}", `{"a":{]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := &scanner{data: []byte(text)}
		_, err := s.value()
		if err == nil {
			err = s.end()
		}
		if errors.Is(err, errDepth) {
			return
		}
		if valid := jsontext.Value(text).IsValid(jsontext.AllowDuplicateNames(true)); valid != (err == nil) {
			t.Fatalf("%q: valid is %v, the scanner says %v", text, valid, err)
		}
	})
}
