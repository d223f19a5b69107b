//go:build document

package netbox

// The module contains api/openapi.yaml, the OpenAPI document of NetBox. Nothing is built with this tag: the package has
// more than a thousand files, and the tests need only the document.
import _ "github.com/netbox-community/go-netbox/v4"
