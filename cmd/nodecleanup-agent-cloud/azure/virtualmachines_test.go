package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7/fake"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	azurevirtualmachine "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/azure-virtual-machine"
)

const (
	secret         = "secret-5e9c"
	subscriptionID = "11111111-2222-3333-4444-555555555555"
)

var (
	standalone = azurevirtualmachine.ID{Subscription: subscriptionID, ResourceGroup: "nodes", Name: "worker"}
	instance   = azurevirtualmachine.ID{Subscription: subscriptionID, ResourceGroup: "nodes", ScaleSet: "agents", Name: "3"}
)

// token is a credential whose token is the secret.
type token struct{}

func (token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: secret, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// transport answers requests instead of Azure.
type transport func(*http.Request) (*http.Response, error)

func (t transport) Do(request *http.Request) (*http.Response, error) { return t(request) }

func answer(request *http.Request, status int, body string, headers ...string) *http.Response {
	response := &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: request}
	for i := 0; i < len(headers); i += 2 {
		response.Header.Set(headers[i], headers[i+1])
	}
	return response
}

func failureOf(code string) string {
	return fmt.Sprintf(`{"error":{"code":%q,"message":"it was not found"}}`, code)
}

// computer is Azure Compute with one machine. It is deleted after a number of reads.
type computer struct {
	exists   bool
	state    string
	lasts    int
	requests []string
}

func (c *computer) get(path string) (code string) {
	c.requests = append(c.requests, "GET "+path)
	if c.state == "Deleting" {
		if c.lasts--; c.lasts < 0 {
			c.exists = false
		}
	}
	if !c.exists {
		return "ResourceNotFound"
	}
	return ""
}

func (c *computer) delete(path string) {
	c.requests = append(c.requests, "DELETE "+path)
	c.state = "Deleting"
}

// factory is the fake server of the SDK. It refuses a request to a wrong path, and one without an own implementation.
func (c *computer) factory() policy.Transporter {
	profile := &armcompute.OSProfile{ComputerName: to.Ptr("worker")}
	const vmID = "d0df4c54-4ecb-4a4b-9954-5bdf3ed5c3b8"
	return fake.NewServerFactoryTransport(&fake.ServerFactory{
		VirtualMachinesServer: fake.VirtualMachinesServer{
			Get: func(_ context.Context, group, name string, _ *armcompute.VirtualMachinesClientGetOptions) (r azfake.Responder[armcompute.VirtualMachinesClientGetResponse], e azfake.ErrorResponder) {
				if code := c.get(group + "/" + name); code != "" {
					e.SetResponseError(http.StatusNotFound, code)
					return r, e
				}
				r.SetResponse(http.StatusOK, armcompute.VirtualMachinesClientGetResponse{VirtualMachine: armcompute.VirtualMachine{
					Properties: &armcompute.VirtualMachineProperties{VMID: to.Ptr(vmID), ProvisioningState: &c.state, OSProfile: profile},
				}}, nil)
				return r, e
			},
			BeginDelete: func(_ context.Context, group, name string, _ *armcompute.VirtualMachinesClientBeginDeleteOptions) (r azfake.PollerResponder[armcompute.VirtualMachinesClientDeleteResponse], e azfake.ErrorResponder) {
				c.delete(group + "/" + name)
				r.AddNonTerminalResponse(http.StatusAccepted, nil)
				r.SetTerminalResponse(http.StatusOK, armcompute.VirtualMachinesClientDeleteResponse{}, nil)
				return r, e
			},
		},
		VirtualMachineScaleSetVMsServer: fake.VirtualMachineScaleSetVMsServer{
			Get: func(_ context.Context, group, set, number string, _ *armcompute.VirtualMachineScaleSetVMsClientGetOptions) (r azfake.Responder[armcompute.VirtualMachineScaleSetVMsClientGetResponse], e azfake.ErrorResponder) {
				if code := c.get(group + "/" + set + "/" + number); code != "" {
					e.SetResponseError(http.StatusNotFound, code)
					return r, e
				}
				r.SetResponse(http.StatusOK, armcompute.VirtualMachineScaleSetVMsClientGetResponse{VirtualMachineScaleSetVM: armcompute.VirtualMachineScaleSetVM{
					Properties: &armcompute.VirtualMachineScaleSetVMProperties{VMID: to.Ptr(vmID), ProvisioningState: &c.state, OSProfile: profile},
				}}, nil)
				return r, e
			},
			BeginDelete: func(_ context.Context, group, set, number string, _ *armcompute.VirtualMachineScaleSetVMsClientBeginDeleteOptions) (r azfake.PollerResponder[armcompute.VirtualMachineScaleSetVMsClientDeleteResponse], e azfake.ErrorResponder) {
				c.delete(group + "/" + set + "/" + number)
				r.AddNonTerminalResponse(http.StatusAccepted, nil)
				r.SetTerminalResponse(http.StatusOK, armcompute.VirtualMachineScaleSetVMsClientDeleteResponse{}, nil)
				return r, e
			},
		},
	})
}

// instant is a clock whose timers fire at once.
type instant struct{ *testingclock.FakeClock }

func (i instant) NewTimer(wait time.Duration) clock.Timer {
	timer := i.FakeClock.NewTimer(wait)
	i.Step(wait)
	return timer
}

// The plugin with the real SDK against the fake servers of the SDK.
func TestDeletionWithTheSDK(t *testing.T) {
	for path, provider := range map[string]string{
		"nodes/worker":   "virtualMachines/worker",
		"nodes/agents/3": "virtualMachineScaleSets/agents/virtualMachines/3",
	} {
		service := &computer{exists: true, state: "Succeeded", lasts: 2}
		api := NewVirtualMachines(Options{HTTP: service.factory(), Credential: token{}})
		group := "/subscriptions/" + subscriptionID + "/resourceGroups/nodes"
		plugin, faults := azurevirtualmachine.Descriptor(api, instant{testingclock.NewFakeClock(time.Now())}).Bind([]byte(`{"resourceGroups":["` + group + `"]}`))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		target := cleanup.Target{
			Step: "vm", Log: slog.New(slog.DiscardHandler), Progress: func(string) {},
			Node: &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "worker"},
				Spec:       corev1.NodeSpec{ProviderID: "azure://" + group + "/providers/Microsoft.Compute/" + provider},
				Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{SystemUUID: "d0df4c54-4ecb-4a4b-9954-5bdf3ed5c3b8"}},
			},
		}
		if err := plugin.Cleanup(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		want := strings.Join([]string{"GET " + path, "DELETE " + path, "GET " + path, "GET " + path, "GET " + path}, "\n")
		if got := strings.Join(service.requests, "\n"); got != want {
			t.Errorf("%s: the requests were\n%s", path, got)
		}
		if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), target); undone != "" || err != nil {
			t.Errorf("%q, %v", undone, err)
		}
	}
}

func TestAbsentMachinesAndErrors(t *testing.T) {
	const inactive = `{"error":{"code":"InvalidParameter","message":"The provided instanceId 3 is not an active Virtual Machine Scale Set VM instanceId.","target":"instanceIds"}}`
	for name, test := range map[string]struct {
		status    int
		body      string
		headers   []string
		absent    bool
		permanent bool
		after     time.Duration
		want      string
	}{
		"absent":                     {status: 404, body: failureOf("ResourceNotFound"), absent: true},
		"absent in another form":     {status: 404, body: failureOf("NotFound"), absent: true},
		"no scale set":               {status: 404, body: failureOf("ParentResourceNotFound"), absent: true},
		"a deleted instance":         {status: 400, body: inactive, absent: true},
		"resource group not found":   {status: 404, body: failureOf("ResourceGroupNotFound"), want: "ResourceGroupNotFound: it was not found"},
		"subscription not found":     {status: 404, body: failureOf("SubscriptionNotFound"), want: "SubscriptionNotFound: it was not found"},
		"a proxy":                    {status: 404, body: `<html>not here</html>`, want: "404 Not Found: 404 Not Found without a message"},
		"invalid":                    {status: 400, body: failureOf("InvalidParameter"), permanent: true, want: "InvalidParameter: it was not found"},
		"no right":                   {status: 403, body: failureOf("AuthorizationFailed"), want: "AuthorizationFailed: it was not found"},
		"a provider to register":     {status: 409, body: failureOf("MissingSubscriptionRegistration"), want: "MissingSubscriptionRegistration: it was not found"},
		"a lock":                     {status: 409, body: failureOf("ScopeLocked"), want: "ScopeLocked: it was not found"},
		"another operation":          {status: 429, body: failureOf(anotherOperation), headers: []string{"Retry-After", "11"}, after: 11 * time.Second, want: anotherOperation + ": it was not found"},
		"another operation, as 400":  {status: 400, body: failureOf(anotherOperation), want: anotherOperation + ": it was not found"},
		"throttled":                  {status: 429, body: failureOf("TooManyRequests"), headers: []string{"Retry-After", "37"}, after: 37 * time.Second, want: "TooManyRequests: it was not found"},
		"throttled without a time":   {status: 429, body: failureOf("TooManyRequests"), after: throttledFor, want: "TooManyRequests: it was not found"},
		"throttled in milliseconds":  {status: 429, body: failureOf("TooManyRequests"), headers: []string{"X-Ms-Retry-After-Ms", "9500"}, after: 9500 * time.Millisecond, want: "TooManyRequests: it was not found"},
		"unavailable with a time":    {status: 503, body: failureOf("ServerTimeout"), headers: []string{"Retry-After", "3"}, after: 3 * time.Second, want: "ServerTimeout: it was not found"},
		"unavailable without a time": {status: 500, body: ``, want: "500 Internal Server Error: 500 Internal Server Error without a message"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, id := range []azurevirtualmachine.ID{standalone, instance} {
				requests := 0
				api := NewVirtualMachines(Options{Credential: token{}, HTTP: transport(func(request *http.Request) (*http.Response, error) {
					requests++
					return answer(request, test.status, test.body, test.headers...), nil
				})})
				_, read := api.Get(t.Context(), azurevirtualmachine.CloudPublic, id)
				for _, err := range []error{read, api.Delete(t.Context(), azurevirtualmachine.CloudPublic, id)} {
					after, _ := cleanup.RetryDelay(err)
					if errors.Is(err, azurevirtualmachine.ErrNotFound) != test.absent || cleanup.IsPermanent(err) != test.permanent || after != test.after {
						t.Errorf("%s: %v, permanent %v, after %s", id, err, cleanup.IsPermanent(err), after)
					}
					if !test.absent && err.Error() != test.want || strings.Contains(err.Error(), secret) {
						t.Errorf("%s: %v, want %s", id, err, test.want)
					}
				}
				if requests != 2 {
					t.Errorf("%s: %d requests, but the agent retries", id, requests)
				}
			}
		})
	}
}

// A second deletion of a machine that does not exist is answered 204.
func TestADeletionWithoutContentIsDone(t *testing.T) {
	api := NewVirtualMachines(Options{Credential: token{}, HTTP: transport(func(request *http.Request) (*http.Response, error) {
		return answer(request, http.StatusNoContent, ""), nil
	})})
	for _, id := range []azurevirtualmachine.ID{standalone, instance} {
		if err := api.Delete(t.Context(), azurevirtualmachine.CloudPublic, id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestTheReasonOfAFailureIsRead(t *testing.T) {
	for _, id := range []azurevirtualmachine.ID{standalone, instance} {
		api := NewVirtualMachines(Options{Credential: token{}, HTTP: transport(func(request *http.Request) (*http.Response, error) {
			view := ""
			if request.URL.Query().Get("$expand") == "instanceView" {
				view = `,"instanceView":{"statuses":[{"code":"ProvisioningState/failed/OperationNotAllowed","level":"Error","message":"the disk\nis locked"}]}`
			}
			return answer(request, http.StatusOK, `{"properties":{"provisioningState":"Failed","vmId":"x"`+view+`}}`), nil
		})})
		vm, err := api.Get(t.Context(), azurevirtualmachine.CloudPublic, id)
		if want := (azurevirtualmachine.VM{VMID: "x", State: "Failed", Message: "the disk is locked"}); err != nil || vm != want {
			t.Errorf("%s: %+v, %v", id, vm, err)
		}
	}
}

// After 429, no Node sends such a request before the time that Azure asks for. Other kinds, subscriptions and clouds have
// limits of their own, and an operation on the same resource limits no other one.
func TestALimitHoldsForAllNodes(t *testing.T) {
	requests, code := 0, "TooManyRequests"
	api := NewVirtualMachines(Options{Credential: token{}, HTTP: transport(func(request *http.Request) (*http.Response, error) {
		requests++
		return answer(request, http.StatusTooManyRequests, failureOf(code), "Retry-After", "60"), nil
	})})
	now := time.Now()
	limited, err := api.(*virtualMachines).subscription(azurevirtualmachine.CloudPublic, subscriptionID)
	if err != nil {
		t.Fatal(err)
	}
	limited.now = func() time.Time { return now }
	get := func(cloud string, id azurevirtualmachine.ID) error {
		_, err := api.Get(t.Context(), cloud, id)
		return err
	}
	_ = get(azurevirtualmachine.CloudPublic, standalone)
	now = now.Add(20 * time.Second)
	err = get(azurevirtualmachine.CloudPublic, instance)
	if after, _ := cleanup.RetryDelay(err); requests != 1 || after != 40*time.Second {
		t.Errorf("%d requests, %v after %s", requests, err, after)
	}
	_ = api.Delete(t.Context(), azurevirtualmachine.CloudPublic, instance)
	other := standalone
	other.Subscription = "99999999-2222-3333-4444-555555555555"
	_ = get(azurevirtualmachine.CloudPublic, other)
	_ = get(azurevirtualmachine.CloudChina, standalone)
	if requests != 4 {
		t.Errorf("%d requests, want one more for each other limit", requests)
	}
	now = now.Add(41 * time.Second)
	code = anotherOperation
	for range 2 {
		_ = get(azurevirtualmachine.CloudPublic, standalone)
	}
	if requests != 6 {
		t.Errorf("%d requests, want 6: the time is over, and another operation limits nothing", requests)
	}
}

func TestRequestsStayBelowTheRatesOfAzure(t *testing.T) {
	limit := newLimit()
	later := time.Now().Add(time.Hour)
	for what, rate := range map[kind]struct{ burst, perSecond int }{reads: {250, 25}, deletes: {200, 10}} {
		limiter := limit.rates[what]
		if !limiter.AllowN(later, rate.burst) || limiter.AllowN(later, 1) {
			t.Errorf("Azure allows %d %s at once", rate.burst, what)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		err := limit.do(ctx, what, func() error { t.Errorf("a request beyond the rate of %s was sent", what); return nil })
		cancel()
		if err == nil || !strings.Contains(err.Error(), "waiting, because Azure limits the rate of "+string(what)) {
			t.Errorf("%v", err)
		}
		later = later.Add(time.Hour)
		if second := later.Add(time.Second); !limiter.AllowN(later, rate.burst) || !limiter.AllowN(second, rate.perSecond) || limiter.AllowN(second, 1) {
			t.Errorf("Azure allows %d %s per second", rate.perSecond, what)
		}
	}
}

func TestEachCloudHasItsEndpoint(t *testing.T) {
	for cloud, want := range map[string]string{
		azurevirtualmachine.CloudPublic:     "management.azure.com",
		azurevirtualmachine.CloudGovernment: "management.usgovcloudapi.net",
		azurevirtualmachine.CloudChina:      "management.chinacloudapi.cn",
	} {
		host := ""
		api := NewVirtualMachines(Options{Credential: token{}, HTTP: transport(func(request *http.Request) (*http.Response, error) {
			host = request.URL.Host
			return answer(request, http.StatusNotFound, failureOf("ResourceNotFound")), nil
		})})
		if _, err := api.Get(t.Context(), cloud, standalone); !errors.Is(err, azurevirtualmachine.ErrNotFound) || host != want {
			t.Errorf("%s: %s, %v", cloud, host, err)
		}
	}
	if _, err := NewVirtualMachines(Options{Credential: token{}}).Get(t.Context(), "Other", standalone); err == nil || err.Error() != `cloud "Other" is unknown` {
		t.Errorf("%v", err)
	}
}
