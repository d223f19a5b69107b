package agent

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

// clients are apart so that neither the Lease nor the work waits for the other.
type clients struct {
	work, lease, events kubernetes.Interface
	// metadata sees of Nodes what the watcher decides by, and no more.
	metadata metadata.Interface
	// leading and leadingMetadata write only while this agent is the leader.
	leading         kubernetes.Interface
	leadingMetadata metadata.Interface
}

// connect makes the clients, which the clock follows, and the namespace where the options
// ask for it.
func connect(ctx context.Context, options Options, clock *serverclock.Clock, lead *leader.Election) (*clients, error) {
	c, err := newClients(options, clock, lead)
	if err != nil {
		return nil, err
	}
	return c, c.ensureNamespace(ctx, options)
}

func newClients(options Options, clock *serverclock.Clock, lead *leader.Election) (*clients, error) {
	as := func(userAgent string, leads bool) *rest.Config {
		rest := rest.CopyConfig(options.REST)
		// client-go's own brake of 5 requests per second would make the
		// cleanup of 5,000 nodes take a quarter of an hour. The API server
		// protects itself (priority and fairness) and says when to wait.
		rest.QPS = -1
		rest.UserAgent = userAgent + "/" + options.Version
		clock.Wrap(rest)
		if leads {
			rest.Wrap(lead.Transport)
		}
		return rest
	}
	var c clients
	var err error
	for _, each := range []struct {
		client    *kubernetes.Interface
		userAgent string
		leads     bool
	}{{&c.work, api.Agent, false}, {&c.leading, api.Agent, true}, {&c.lease, api.Agent + "-lease", false}, {&c.events, api.Agent + "-events", false}} {
		rest := as(each.userAgent, each.leads)
		// Protobuf costs both sides a fraction of what JSON does.
		rest.ContentType = runtime.ContentTypeProtobuf
		rest.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
		if *each.client, err = kubernetes.NewForConfig(rest); err != nil {
			return nil, fmt.Errorf("making a client for %s: %w", options.REST.Host, err)
		}
	}
	for client, leads := range map[*metadata.Interface]bool{&c.metadata: false, &c.leadingMetadata: true} {
		if *client, err = metadata.NewForConfig(as(api.Agent, leads)); err != nil {
			return nil, fmt.Errorf("making a client for %s: %w", options.REST.Host, err)
		}
	}
	return &c, nil
}

// ensureNamespace makes the agent's namespace where the options ask for it.
func (c *clients) ensureNamespace(ctx context.Context, options Options) error {
	if !options.CreateNamespace {
		return nil
	}
	_, err := c.work.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:   options.Namespace,
		Labels: map[string]string{api.LabelName: api.LabelNameValue},
	}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", options.Namespace, err)
	}
	return nil
}
