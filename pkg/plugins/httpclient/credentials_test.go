package httpclient

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestCredentials(t *testing.T) {
	literal := cleanup.Literal
	for name, test := range map[string]struct {
		Credentials
		header, value string
		secrets       []string
	}{
		"bearer":   {Header(nil, "Authorization", "Bearer ", literal("abc\n")), "Authorization", "Bearer abc", []string{"abc"}},
		"own name": {Header(nil, "X-Api-Key", "", literal("abc")), "X-Api-Key", "abc", []string{"abc"}},
		"basic":    {Basic(nil, "ops", literal("abc")), "Authorization", "Basic b3BzOmFiYw==", []string{"abc", "b3BzOmFiYw=="}},
	} {
		t.Run(name, func(t *testing.T) {
			header, secrets, err := test.Credentials(t.Context())
			if err != nil || header.Get(test.header) != test.value || len(header) != 1 || !slices.Equal(secrets, test.secrets) {
				t.Errorf("got %v, %q, %v", header, secrets, err)
			}
		})
	}
	for name, credentials := range map[string]Credentials{
		"token": Header(nil, "Authorization", "Bearer ", literal("canary\x01")), "password": Basic(nil, "ops", literal("canary\r\nx: y")),
	} {
		if header, _, err := credentials(t.Context()); err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), name) || !slices.Equal([]string(header.Values("Authorization")), nil) {
			t.Errorf("%s: got %v, %v", name, http.Header(header), err)
		}
	}
}
