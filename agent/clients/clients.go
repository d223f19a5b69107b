// Package clients makes the clients of the agent, and its Event recorder.
package clients

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/serverclock"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Options configure the clients.
type Options struct {
	REST *rest.Config
	// Version of the agent, for the user agent.
	Version string
	// Clock reads the time from every answer.
	Clock *serverclock.Clock
	// Election fences the clients of the leader.
	Election *leader.Election
}

// Clients are the clients of the agent. The Lease and the Events use separate connections, so
// that leader election, Events and cleanups do not wait for each other.
type Clients struct {
	Work, Lease, Events kubernetes.Interface
	// Metadata reads the metadata of objects only.
	Metadata metadata.Interface
	// Leading and LeadingMetadata write only while this agent is the leader.
	Leading         kubernetes.Interface
	LeadingMetadata metadata.Interface
}

// New makes the clients. It sends no request.
func New(options Options) (*Clients, error) {
	as := func(userAgent string, leads bool) *rest.Config {
		rest := rest.CopyConfig(options.REST)
		// With client-go's rate limit of 5 requests per second, the cleanup of 5,000 nodes
		// would take a quarter of an hour. The API server protects itself (priority and
		// fairness), and asks clients to wait.
		rest.QPS = -1
		rest.UserAgent = userAgent + "/" + options.Version
		options.Clock.Wrap(rest)
		if leads {
			rest.Wrap(options.Election.Transport)
		}
		return rest
	}
	var c Clients
	var err error
	for _, each := range []struct {
		client    *kubernetes.Interface
		userAgent string
		leads     bool
	}{{&c.Work, api.Agent, false}, {&c.Leading, api.Agent, true}, {&c.Lease, api.Agent + "-lease", false}, {&c.Events, api.Agent + "-events", false}} {
		rest := as(each.userAgent, each.leads)
		// Both sides encode and decode Protobuf in a fraction of the time of JSON.
		rest.ContentType = runtime.ContentTypeProtobuf
		rest.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
		if *each.client, err = kubernetes.NewForConfig(rest); err != nil {
			return nil, fmt.Errorf("making a client for %s: %w", options.REST.Host, err)
		}
	}
	for client, leads := range map[*metadata.Interface]bool{&c.Metadata: false, &c.LeadingMetadata: true} {
		if *client, err = metadata.NewForConfig(as(api.Agent, leads)); err != nil {
			return nil, fmt.Errorf("making a client for %s: %w", options.REST.Host, err)
		}
	}
	return &c, nil
}

// EnsureNamespace creates the namespace if it does not exist.
func (c *Clients) EnsureNamespace(ctx context.Context, name string) error {
	_, err := c.Work.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:   name,
		Labels: map[string]string{api.LabelName: api.LabelNameValue},
	}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", name, err)
	}
	return nil
}
