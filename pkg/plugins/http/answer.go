package http

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// classify interprets a response: success, a retriable error or a permanent error.
func (p *plugin) classify(response *http.Response) error {
	expected := response.StatusCode/100 == 2 || slices.Contains(p.AlsoAccept, response.StatusCode)
	if len(p.ExpectStatus) > 0 {
		expected = slices.Contains(p.ExpectStatus, response.StatusCode)
	}
	if expected {
		return nil
	}
	err := fmt.Errorf("sending %s to %s: the answer is %s", p.Method, p.where(), httpclient.Status(response))
	if !p.secret() {
		if said := httpclient.Excerpt(response.Body); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
	}
	return httpclient.Classify(err, response)
}
