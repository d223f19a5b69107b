package repair

import (
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestRepair(t *testing.T) {
	secretURL := []byte(`{"url":{"secretKeyRef":{"name":"chat","key":"url"}}}`)
	url, token := cleanup.SecretKey{Name: "chat", Key: "url"}, cleanup.SecretKey{Name: "chat", Key: "token"}
	for name, test := range map[string]struct {
		use     Use
		problem string
		want    string
	}{
		"address in the config": {Use{Place: "step tell", Plugin: "http", Options: []byte(`{"url":"https://x"}`)}, "connection refused", "start the service that step tell calls, or change its address: kubectl nodecleanup config edit"},
		"address in a Secret":   {Use{"notification ops", "http", secretURL, []cleanup.SecretKey{url}}, "connection refused", "start the service that notification ops calls, or change its address: kubectl -n ns edit secret chat"},
		"answer":                {Use{"notification ops", "webhook", secretURL, []cleanup.SecretKey{url}}, "the answer is 500 Internal Server Error", "fix the service that notification ops calls, or change its address: kubectl -n ns edit secret chat"},
		"credential":            {Use{"notification ops", "http", secretURL, []cleanup.SecretKey{url, token}}, "sending POST to x: the answer is 401 Unauthorized", "change the credential of notification ops (key token of secret chat): kubectl -n ns edit secret chat"},
		"permissions":           {Use{"step cmdb", "cmdb", nil, []cleanup.SecretKey{token}}, "CMDB answers 403 Forbidden", "give the credential its permissions at the service that step cmdb calls, or change the credential of step cmdb (key token of secret chat): kubectl -n ns edit secret chat"},
		"credential in the URL": {Use{"notification ops", "http", secretURL, []cleanup.SecretKey{url}}, "the answer is 401 Unauthorized", "change the credential of notification ops: kubectl nodecleanup config edit"},
		"not an address":        {Use{Place: "step drain", Plugin: "drain"}, "timeout", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if fix := test.use.For("ns", test.problem); fix != nil {
				got = fix.Line()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
