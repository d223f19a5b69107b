package aws

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// query is a server with the query protocol of AWS: a signed POST with a form, and an answer in XML. It is for what the
// emulator lacks: EC2 Auto Scaling, and DryRun. See
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonParameters.html. It answers only to the actions, the
// version and the parameters that it expects.
type query struct {
	*httptest.Server
	// service and version of the API.
	service, version string
	// answers has the answer to each action. It returns the status and the document.
	answers map[string]func(parameters map[string]string) (status int, document string)
	mutex   sync.Mutex
	calls   []string
}

func newQuery(t *testing.T, service, version string, answers map[string]func(map[string]string) (int, string)) *query {
	q := &query{service: service, version: version, answers: answers}
	q.Server = httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		status, document := q.answer(t, request)
		writer.Header().Set("Content-Type", "text/xml")
		writer.WriteHeader(status)
		fmt.Fprint(writer, document)
	}))
	t.Cleanup(q.Close)
	return q
}

func (q *query) answer(t *testing.T, request *http.Request) (status int, document string) {
	if err := request.ParseForm(); err != nil {
		t.Errorf("reading the form: %v", err)
	}
	parameters := map[string]string{}
	for key, values := range request.PostForm {
		parameters[key] = strings.Join(values, ",")
	}
	action, version := parameters["Action"], parameters["Version"]
	maps.DeleteFunc(parameters, func(key, _ string) bool { return key == "Action" || key == "Version" })
	q.mutex.Lock()
	q.calls = append(q.calls, action)
	q.mutex.Unlock()
	scope := "/eu-west-1/" + q.service + "/aws4_request"
	answer, known := q.answers[action]
	switch {
	case request.Method != http.MethodPost || request.URL.RawQuery != "" || version != q.version:
		t.Errorf("%s %s, version %q", request.Method, request.URL, version)
	case !strings.HasPrefix(request.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKID/") || !strings.Contains(request.Header.Get("Authorization"), scope):
		t.Errorf("the authorization of %s is %q, want the scope %s", action, request.Header.Get("Authorization"), scope)
	case strings.Contains(fmt.Sprint(request.Header, request.PostForm), secret):
		t.Error("the request contains the secret key")
	case !known:
		t.Errorf("unexpected action %s", action)
	default:
		return answer(parameters)
	}
	return http.StatusBadRequest, ""
}

// failure is the document of an error.
func (q *query) failure(code, message string) string {
	if q.service == "ec2" { // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-response
		return fmt.Sprintf(`<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>r1</RequestID></Response>`, code, message)
	}
	return fmt.Sprintf(`<ErrorResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r1</RequestId></ErrorResponse>`, code, message)
}

// expect reports an error unless the request has exactly these parameters.
func expect(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("the parameters are %v, want %v", got, want)
	}
}

// classes are errors of AWS, and how the plugins have to treat them.
var classes = map[string]struct {
	status    int
	permanent bool
	after     time.Duration
}{
	"Throttling":                {400, false, throttledFor},
	"RequestLimitExceeded":      {503, false, throttledFor},
	"ResourceContention":        {500, false, throttledFor},
	"ScalingActivityInProgress": {400, false, throttledFor},
	"AccessDenied":              {403, true, 0},
	"UnauthorizedOperation":     {403, true, 0},
	"OperationNotPermitted":     {400, true, 0},
	"ValidationError":           {400, true, 0},
	"ExpiredToken":              {403, false, 0},
	"RequestExpired":            {400, false, 0},
	"InternalFailure":           {500, false, 0},
	"ServiceUnavailable":        {503, false, 0},
	"Unavailable":               {503, false, 0},
}

// classified calls AWS once for each class of error, and checks how the error is treated.
func classified(t *testing.T, service, version string, call func(url string) error) {
	t.Helper()
	for code, class := range classes {
		q := newQuery(t, service, version, nil)
		fails := func(map[string]string) (int, string) {
			return class.status, q.failure(code, "no. Encoded authorization failure message: 4GIOHlTkIaWHQD0Q0m6XSnuUMCm")
		}
		q.answers = map[string]func(map[string]string) (int, string){}
		for _, action := range []string{
			"DescribeInstances", "TerminateInstances", "DescribeAutoScalingInstances", "DescribeLifecycleHooks", "CompleteLifecycleAction", "DetachInstances",
			"TerminateInstanceInAutoScalingGroup",
		} {
			q.answers[action] = fails
		}
		err := call(q.URL)
		after, _ := cleanup.RetryDelay(err)
		if err == nil || err.Error() != code+": no." || cleanup.IsPermanent(err) != class.permanent || after != class.after {
			t.Errorf("%s: %v, permanent %t, after %s", code, err, cleanup.IsPermanent(err), after)
		}
		if len(q.calls) != 1 {
			t.Errorf("%s: the SDK sent %d requests, the agent does the retries", code, len(q.calls))
		}
	}
}
