package azure

import (
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	azurevirtualmachine "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/azure-virtual-machine"
)

// entra answers as Microsoft Entra ID and the metadata service of a machine do.
func entra(t *testing.T, requests *[]string, refuse bool) transport {
	return func(request *http.Request) (*http.Response, error) {
		body := ""
		if request.Body != nil {
			data, err := io.ReadAll(request.Body)
			if err != nil {
				t.Error(err)
			}
			body = string(data)
		}
		url := request.URL
		switch {
		case strings.HasSuffix(url.Path, "/.well-known/openid-configuration"):
			base := "https://" + url.Host + "/tenant"
			return answer(request, http.StatusOK, `{"token_endpoint":"`+base+`/oauth2/v2.0/token","authorization_endpoint":"`+base+`/authorize","issuer":"`+base+`/v2.0"}`), nil
		case strings.Contains(url.Path, "/discovery/instance"):
			return answer(request, http.StatusOK, `{"tenant_discovery_endpoint":"https://`+url.Host+`/tenant/v2.0/.well-known/openid-configuration","metadata":[{"preferred_network":"`+url.Host+`","preferred_cache":"`+url.Host+`","aliases":["`+url.Host+`"]}]}`), nil
		case strings.HasSuffix(url.Path, "/token"):
			*requests = append(*requests, url.Host+" "+url.Query().Get("client_id")+" "+body)
			if refuse {
				return answer(request, http.StatusBadRequest, `{"error":"invalid_client","error_description":"AADSTS700213: No matching federated identity record found"}`), nil
			}
			return answer(request, http.StatusOK, `{"token_type":"Bearer","access_token":"token-of-azure","expires_in":3600,"expires_on":4102444800,"resource":"https://management.azure.com"}`), nil
		}
		*requests = append(*requests, url.Host+" "+request.Header.Get("Authorization"))
		return answer(request, http.StatusNotFound, failureOf("ResourceNotFound")), nil
	}
}

func workloadIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client"} {
		t.Setenv(name, value)
	}
}

func TestWorkloadIdentity(t *testing.T) {
	workloadIdentity(t)
	var requests []string
	api := NewVirtualMachines(Options{HTTP: entra(t, &requests, false)})
	for range 2 { // The token is kept.
		if _, err := api.Get(t.Context(), azurevirtualmachine.CloudPublic, standalone); err == nil || err.Error() != azurevirtualmachine.ErrNotFound.Error() {
			t.Fatal(err)
		}
	}
	if len(requests) != 3 || requests[1] != requests[2] || !strings.HasPrefix(requests[0], "login.microsoftonline.com ") || !strings.Contains(requests[0], "client_assertion="+secret) ||
		requests[2] != "management.azure.com Bearer token-of-azure" {
		t.Errorf("%q", requests)
	}
}

func TestARefusedTokenIsNamedWithoutTheSecret(t *testing.T) {
	workloadIdentity(t)
	var requests []string
	_, err := NewVirtualMachines(Options{HTTP: entra(t, &requests, true)}).Get(t.Context(), azurevirtualmachine.CloudPublic, standalone)
	if want := "getting a token for Azure: AADSTS700213: No matching federated identity record found"; err == nil || err.Error() != want || cleanup.IsPermanent(err) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestManagedIdentity(t *testing.T) {
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "")
	chosen := rand.Text() // The SDK keeps tokens for the whole process.
	t.Setenv("AZURE_CLIENT_ID", chosen)
	var requests []string
	if _, err := NewVirtualMachines(Options{HTTP: entra(t, &requests, false)}).Get(t.Context(), azurevirtualmachine.CloudPublic, standalone); err == nil || err.Error() != azurevirtualmachine.ErrNotFound.Error() {
		t.Fatal(err)
	}
	if len(requests) != 2 || !strings.HasPrefix(requests[0], "169.254.169.254 "+chosen) {
		t.Errorf("%q", requests)
	}
}

// The engine retries. The SDK would ask the metadata service seven times, for minutes.
func TestNoTokenIsRequestedTwiceInOneAttempt(t *testing.T) {
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "")
	requests := 0
	api := NewVirtualMachines(Options{HTTP: transport(func(request *http.Request) (*http.Response, error) {
		requests++
		return answer(request, http.StatusTooManyRequests, `{"error":"throttled","error_description":"slow down"}`, "Retry-After", "13"), nil
	})})
	_, err := api.Get(t.Context(), azurevirtualmachine.CloudPublic, standalone)
	if after, _ := cleanup.RetryDelay(err); requests != 1 || after != 13*time.Second {
		t.Errorf("%d requests, %v after %s", requests, err, after)
	}
}
