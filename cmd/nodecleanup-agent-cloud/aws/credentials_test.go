package aws

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pod sets the environment of a Pod, and returns the file with its token. Nothing else of this machine counts.
func pod(t *testing.T, variables map[string]string) (token string) {
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value) // Restores it after the test.
			os.Unsetenv(name)
		}
	}
	token = filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("token-of-the-pod"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for name, value := range variables {
		t.Setenv(name, value)
	}
	return token
}

// signer is EC2 Auto Scaling, and reports the access key that signs the request.
func signer(t *testing.T) (url string, key *string) {
	key = new(string)
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		_, scope, _ := strings.Cut(request.Header.Get("Authorization"), "Credential=")
		*key, _, _ = strings.Cut(scope, "/")
		*key += " " + request.Header.Get("X-Amz-Security-Token")
		fmt.Fprint(writer, enveloped("DescribeAutoScalingInstances", member(one.ID, "InService")))
	}))
	t.Cleanup(server.Close)
	return server.URL, key
}

// IAM roles for service accounts: the webhook of EKS sets these variables, see
// https://docs.aws.amazon.com/eks/latest/userguide/pod-configuration.html. The token goes to STS.
func TestCredentialsOfIAMRolesForServiceAccounts(t *testing.T) {
	sts := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if err := request.ParseForm(); err != nil || request.PostForm.Get("Action") != "AssumeRoleWithWebIdentity" ||
			request.PostForm.Get("WebIdentityToken") != "token-of-the-pod" || request.PostForm.Get("RoleArn") != "arn:aws:iam::123456789012:role/agent" {
			t.Errorf("%v, %v", request.PostForm, err)
		}
		fmt.Fprintf(writer, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
			`<AccessKeyId>IRSA</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration>`+
			`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, secret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer sts.Close()
	url, key := signer(t)
	token := pod(t, map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/agent", "AWS_ENDPOINT_URL_STS": sts.URL, "AWS_ENDPOINT_URL_AUTO_SCALING": url,
	})
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
	if found, err := NewAutoScaling(Options{HTTP: &http.Client{}}).Membership(t.Context(), one); err != nil || found.Group != "workers" || *key != "IRSA session" {
		t.Errorf("%+v, %v, signed by %q", found, err, *key)
	}
}

// EKS Pod Identity: its agent sets these variables, and answers at a local address. See
// https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html.
func TestCredentialsOfPodIdentity(t *testing.T) {
	identity := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if got := request.Header.Get("Authorization"); got != "token-of-the-pod" || request.URL.Path != "/v1/credentials" {
			t.Errorf("%s, authorized by %q", request.URL, got)
		}
		writer.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(writer).Encode(map[string]string{
			"AccessKeyId": "PODIDENTITY", "SecretAccessKey": secret, "Token": "session", "Expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
		}); err != nil {
			t.Error(err)
		}
	}))
	defer identity.Close()
	url, key := signer(t)
	token := pod(t, map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": identity.URL + "/v1/credentials", "AWS_ENDPOINT_URL_AUTO_SCALING": url})
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
	if found, err := NewAutoScaling(Options{HTTP: &http.Client{}}).Membership(t.Context(), one); err != nil || found.Group != "workers" || *key != "PODIDENTITY session" {
		t.Errorf("%+v, %v, signed by %q", found, err, *key)
	}
}
