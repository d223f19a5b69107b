package soak_test

import (
	"context"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// breakFor breaks something for a random time of at most a limit, unless it is broken already.
func (w *world) breakFor(ctx context.Context, name string, limit time.Duration, broken, repair func(context.Context) error) error {
	if _, is := w.outages[name]; is {
		return errNothing
	}
	// Also where the answer to the breaking was lost.
	w.outages[name] = outage{time.Now().Add(time.Duration(w.random.Float64() * float64(limit))), repair}
	return broken(ctx)
}

// repair ends the outages whose time is over, or all of them. What fails is tried again.
func (w *world) repair(ctx context.Context, all bool) {
	for name, each := range w.outages {
		if !all && time.Now().Before(each.until) {
			continue
		}
		if err := each.repair(ctx); err != nil {
			w.counted.add("repair: " + quote(err))
			continue
		}
		delete(w.outages, name)
	}
	for _, a := range w.agents {
		if a.lost() { // Kubernetes would start it again.
			w.counted.add("an agent has ended by itself")
			w.startAgent(ctx, a)
		}
	}
}

// startAgent does not wait until the agent is ready.
func (w *world) startAgent(ctx context.Context, a *agent) {
	w.repairs.Go(func() {
		if err := a.start(ctx); err != nil && ctx.Err() == nil {
			w.Logf("%v", err) // It is lost, and started again.
		}
	})
}

func (w *world) closeBudget(ctx context.Context) error {
	name := pick(w.random, append(deployments[:len(deployments):len(deployments)], statefulSets...))
	return w.breakFor(ctx, "budget "+name, 15*time.Second,
		func(ctx context.Context) error { return w.setBudget(ctx, name, true) },
		func(ctx context.Context) error { return w.setBudget(ctx, name, false) })
}

func (w *world) stopInventory(ctx context.Context) error {
	set := func(down bool) func(context.Context) error {
		return func(context.Context) error { w.inventory.setDown(down); return nil }
	}
	return w.breakFor(ctx, "inventory", 15*time.Second, set(true), set(false))
}

func (w *world) stopAttacher(ctx context.Context) error {
	set := func(paused bool) func(context.Context) error {
		return func(context.Context) error { w.attacher.pause(paused); return nil }
	}
	return w.breakFor(ctx, "attacher", 10*time.Second, set(true), set(false))
}

func (w *world) cutWebhook(ctx context.Context) error {
	return w.breakFor(ctx, "webhook", 10*time.Second, cut(w.hook, true), cut(w.hook, false))
}

func cut(p *proxy, is bool) func(context.Context) error {
	return func(context.Context) error { p.set(is); return nil }
}

// breakNodes makes every update of a Node fail, as the webhook of another project does when it is
// down. Updates of the status are another resource, so the nodes stay ready.
func (w *world) breakNodes(ctx context.Context) error {
	return w.failingWebhook(ctx, "nodes", admissionregistrationv1.Update)
}

func (w *world) breakEvictions(ctx context.Context) error {
	return w.failingWebhook(ctx, "pods/eviction", admissionregistrationv1.Create)
}

func (w *world) failingWebhook(ctx context.Context, resource string, operation admissionregistrationv1.OperationType) error {
	webhooks := w.admin.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	name := fmt.Sprintf("failing-%d", len(resource))
	return w.breakFor(ctx, "webhook on "+resource, 8*time.Second, func(ctx context.Context) error {
		_, err := webhooks.Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "failing.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone),
				FailurePolicy: ptr.To(admissionregistrationv1.Fail), TimeoutSeconds: ptr.To[int32](1),
				ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/")},
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{operation},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}},
				}},
			}},
		}, metav1.CreateOptions{})
		return err
	}, func(ctx context.Context) error {
		if err := webhooks.Delete(ctx, name, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
			return err
		}
		return nil
	})
}

func (w *world) killAgent(ctx context.Context) error {
	a := pick(w.random, w.agents)
	return w.breakFor(ctx, a.name, 6*time.Second,
		func(context.Context) error { return a.kill() },
		func(context.Context) error { w.startAgent(w.Context(), a); return nil })
}

// suspendAgent freezes an agent, often for longer than its Lease lasts.
func (w *world) suspendAgent(ctx context.Context) error {
	a := pick(w.random, w.agents)
	return w.breakFor(ctx, a.name, 15*time.Second,
		func(context.Context) error { return a.process.Pause() },
		func(context.Context) error { return a.process.Resume() })
}

// partitionAgent takes the network away between an agent and the API server.
func (w *world) partitionAgent(ctx context.Context) error {
	a := pick(w.random, w.agents)
	return w.breakFor(ctx, "network of "+a.name, 15*time.Second, cut(a.network, true), cut(a.network, false))
}

// restartAPIServer kills the API server and starts it again, which takes seconds.
func (w *world) restartAPIServer(ctx context.Context) error {
	server := shared.Component(cluster.APIServer)
	if err := server.Kill(); err != nil {
		w.Fatal(err)
	}
	if err := server.Start(w.Context()); err != nil {
		w.Fatal(err)
	}
	return nil
}
