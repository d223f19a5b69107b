package agent_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/servingcert"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// caSecret returns the Secret's certificate, and its key.
func (f *fixture) caSecret(ctx context.Context) (certificate, key []byte, err error) {
	secret, err := f.client.CoreV1().Secrets(f.namespace).Get(ctx, api.CASecretName, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	return secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], nil
}

func (f *fixture) breakCASecret() {
	f.Helper()
	patch := []byte(`{"data":{"` + corev1.TLSPrivateKeyKey + `":"AAAA"}}`)
	if _, err := f.client.CoreV1().Secrets(f.namespace).Patch(f.Context(), api.CASecretName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		f.Fatal(err)
	}
}

func TestCAIsSharedAndReplacedIfUnusable(t *testing.T) {
	f := setUp(t, logOnly)
	client := kubernetes.NewForConfigOrDie(f.rest())
	open := func(now time.Time) []byte {
		t.Helper()
		if _, err := servingcert.Open(t.Context(), servingcert.Options{
			Client: client, Namespace: f.namespace, Hosts: []string{"localhost"}, Timing: servingcert.DefaultTiming(),
			Changed: func(time.Time) {}, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler),
		}); err != nil {
			t.Fatal(err)
		}
		certificate, _, err := f.caSecret(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	now := time.Now()
	first := open(now)
	if again := open(now); !bytes.Equal(again, first) {
		t.Error("a second agent made a CA of its own")
	}
	if late := open(now.Add(servingcert.DefaultTiming().CALife)); bytes.Equal(late, first) {
		t.Error("a CA that has ended is still used")
	}
	before := open(now)
	f.breakCASecret()
	if after := open(now); bytes.Equal(after, before) {
		t.Error("a CA without its key is still used")
	}
}

func TestLostCAIsPublishedAgain(t *testing.T) {
	f := setUp(t, logOnly)
	f.startWithWebhook()
	if _, err := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.JSONPatchType,
		[]byte(`[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the CA is back", func(ctx context.Context) (bool, error) {
		configuration, err := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})
		return err == nil && len(configuration.Webhooks[0].ClientConfig.CABundle) > 0, err
	})
}

// A machine that was suspended wakes up with a CA that has ended, in memory as in the Secret.
func TestExpiringCAIsReplaced(t *testing.T) {
	f := setUp(t, logOnly)
	var ahead atomic.Int64
	timing := servingcert.DefaultTiming()
	timing.Settle = 50 * time.Millisecond // It is also how often the clock is looked at.
	authority, err := servingcert.Open(t.Context(), servingcert.Options{
		Client: kubernetes.NewForConfigOrDie(f.rest()), Namespace: f.namespace, Hosts: []string{"localhost"}, Timing: timing, Changed: func(time.Time) {},
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	first, _, err := f.caSecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- authority.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	ahead.Store(int64(timing.CALife + time.Hour))
	f.eventually("there is a new CA, and a certificate of it", func(ctx context.Context) (bool, error) {
		now, _, err := f.caSecret(ctx)
		if err != nil || bytes.Equal(now, first) {
			return false, err
		}
		leaf, err := authority.Certificate(nil)
		return err == nil && leaf.Leaf.NotAfter.After(time.Now().Add(timing.CALife)), err
	})
}

// The agent that runs serves with a certificate of the CA that it has in memory,
// so that one is put back, and no other.
func TestDeletedCASecretIsRestored(t *testing.T) {
	f := setUp(t, logOnly)
	f.startWithWebhook()
	certificate, key, err := f.caSecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	isBack := func(ctx context.Context) (bool, error) {
		now, nowKey, err := f.caSecret(ctx)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return bytes.Equal(now, certificate) && bytes.Equal(nowKey, key), err
	}
	if err := f.client.CoreV1().Secrets(f.namespace).Delete(t.Context(), api.CASecretName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the CA that was deleted is back", isBack)
	f.breakCASecret()
	f.eventually("the CA that was broken is back", isBack)
}
