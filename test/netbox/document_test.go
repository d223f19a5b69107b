package netbox

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// paths are those that the plugin uses. The others are removed, because a router for all takes seconds.
var paths = []string{
	"/api/status/", "/api/dcim/devices/", "/api/dcim/devices/{id}/", "/api/virtualization/virtual-machines/", "/api/virtualization/virtual-machines/{id}/",
}

// document returns a router of the OpenAPI document of NetBox. Reading it takes seconds, so it is read once.
var document = sync.OnceValues(func() (routers.Router, error) {
	folder, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/netbox-community/go-netbox/v4").Output()
	if err != nil {
		return nil, fmt.Errorf("finding the module with the document: %w", err)
	}
	read, err := openapi3.NewLoader().LoadFromFile(filepath.Join(strings.TrimSpace(string(folder)), "api", "openapi.yaml"))
	if err != nil {
		return nil, err
	}
	used := openapi3.NewPaths()
	for _, path := range paths {
		if read.Paths.Value(path) == nil {
			return nil, fmt.Errorf("the document has no path %s", path)
		}
		used.Set(path, read.Paths.Value(path))
	}
	read.Paths = used
	return gorillamux.NewRouter(read)
})

// invalid returns why the document does not allow a request. It restores the body.
func invalid(request *http.Request) error {
	router, err := document()
	if err != nil {
		return err
	}
	route, parameters, err := router.FindRoute(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, err)
	}
	return openapi3filter.ValidateRequest(request.Context(), &openapi3filter.RequestValidationInput{
		Request: request, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}, // The document knows tokens of version 1 only.
	})
}
