// Package netbox tests the plugin netbox against a NetBox in memory, which validates each request with the OpenAPI
// document of NetBox. It has its own Go module, so that the agent does not depend on the validator.
package netbox
