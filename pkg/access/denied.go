package access

import (
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// denied is how the API server denies a request, see forbiddenMessage in
// https://github.com/kubernetes/apiserver/blob/master/pkg/endpoints/handlers/responsewriters/errors.go.
var denied = regexp.MustCompile(`User "[^"]*" cannot (\w+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)"| at the cluster scope)?`)

// Denied returns the right that the caller lacks, if the API server denied a request of RBAC.
func Denied(err error) (lacked Right, is bool) {
	if !apierrors.IsForbidden(err) {
		return Right{}, false
	}
	found := denied.FindStringSubmatch(err.Error())
	if found == nil {
		return Right{}, false
	}
	resource, subresource, _ := strings.Cut(found[2], "/")
	return Right{Verb: found[1], Resource: resource, Subresource: subresource, Group: found[3], Namespace: found[4]}, true
}
