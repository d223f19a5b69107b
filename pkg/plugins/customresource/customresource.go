// Package customresource reads objects whose Go types the agent does not have, with the REST client that it has already.
// The dynamic client would decode each object completely.
package customresource

import (
	"context"
	"encoding/json"

	"k8s.io/client-go/rest"
)

// Read sends a request and decodes its answer. That is JSON also for a client that prefers Protobuf, because custom
// resources have no other encoding. If the API server refuses the request, the error has its message.
func Read(ctx context.Context, request *rest.Request, into any) error {
	result := request.Do(ctx)
	if err := result.Error(); err != nil {
		return err // Unlike Raw, Error decodes the Status of the answer.
	}
	data, err := result.Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
