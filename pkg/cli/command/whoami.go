package command

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// WhoAmI returns the name of the caller as the API server knows it. It returns nil if the server
// does not answer that: then the request carries no name, and the audit log still has it.
func WhoAmI(ctx context.Context, client kubernetes.Interface) any {
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || review.Status.UserInfo.Username == "" {
		return nil
	}
	return review.Status.UserInfo.Username
}
