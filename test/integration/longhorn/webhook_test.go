package longhorn_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// validated is the part of a node that Longhorn's webhook validates.
type validated struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Disks             map[string]any `json:"disks"`
		AllowScheduling   bool           `json:"allowScheduling"`
		EvictionRequested bool           `json:"evictionRequested"`
	} `json:"spec"`
	Status struct {
		DiskStatus map[string]any `json:"diskStatus"`
	} `json:"status"`
}

// validate is nodeValidator.Update of
// https://github.com/longhorn/longhorn-manager/blob/master/webhook/resources/node/validator.go, as far as the plugin's
// changes are concerned.
func validate(old, updated validated) *metav1.Status {
	if updated.Spec.EvictionRequested && updated.Spec.AllowScheduling {
		message := fmt.Sprintf("need to disable scheduling on node %v for node eviction, or cancel eviction to enable scheduling on this node", old.Metadata.Name)
		return &metav1.Status{Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: message}
	}
	synced := len(old.Spec.Disks) == len(old.Status.DiskStatus)
	for name := range old.Spec.Disks {
		_, has := old.Status.DiskStatus[name]
		synced = synced && has
	}
	if !synced {
		message := fmt.Sprintf("spec and status of disks on node %v are being syncing and please retry later.", old.Metadata.Name)
		return &metav1.Status{Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message}
	}
	return nil
}

// withWebhook serves Longhorn's webhook until the end of the test.
func (f *fixture) withWebhook() {
	f.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		var review admissionv1.AdmissionReview
		var old, updated validated
		if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
			f.Error(err)
			return
		}
		for raw, into := range map[string]*validated{string(review.Request.OldObject.Raw): &old, string(review.Request.Object.Raw): &updated} {
			if err := json.Unmarshal([]byte(raw), into); err != nil {
				f.Error(err)
				return
			}
		}
		denied := validate(old, updated)
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: denied == nil, Result: denied}
		if err := json.NewEncoder(writer).Encode(review); err != nil {
			f.Error(err)
		}
	}))
	f.Cleanup(server.Close)
	webhooks := f.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	none := admissionregistrationv1.SideEffectClassNone
	_, err := webhooks.Create(f.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: f.namespace},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "validator.longhorn.io", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none,
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: f.namespace}},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: &server.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"longhorn.io"}, APIVersions: []string{"v1beta2"}, Resources: []string{"nodes"}},
			}},
		}},
	}, metav1.CreateOptions{})
	f.no(err)
	f.Cleanup(func() {
		if err := webhooks.Delete(context.WithoutCancel(f.Context()), f.namespace, metav1.DeleteOptions{}); err != nil {
			f.Error(err)
		}
	})
	probe := f.node("probe")
	f.eventually("the webhook is called", func(ctx context.Context) (bool, error) {
		_, err := f.resource("nodes").Patch(ctx, probe.Name, types.MergePatchType, []byte(`{"spec":{"evictionRequested":true}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil, nil
	})
}
