package guard_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// object is a part of an AdmissionReview that a test forges.
type object map[string]any

// forgery returns a review of the deletion of a Node by mallory, as the API server sends it,
// after a change of the request, the user and the old object.
func forgery(node *corev1.Node, change func(request, user, old object)) object {
	user := object{"username": "mallory", "groups": []string{"editors", "system:authenticated"}}
	old := object{"metadata": object{"name": node.Name, "uid": node.UID, "labels": node.Labels, "annotations": node.Annotations, "finalizers": node.Finalizers}, "spec": object{}}
	request := object{
		"uid": "q", "operation": "DELETE", "name": node.Name, "kind": object{"group": "", "version": "v1", "kind": "Node"},
		"resource": object{"group": "", "version": "v1", "resource": "nodes"}, "userInfo": user, "oldObject": old,
	}
	if change != nil {
		change(request, user, old)
	}
	return request
}

// Without client certificates, every Pod can call the webhook. A forged review must change neither
// the decision about the real deletion that follows nor the Node.
func TestForgedReviewDoesNotBypassTheGuard(t *testing.T) {
	const exempt = "system:serviceaccount:kube-system:cluster-autoscaler"
	f := setUp(t, "nodeSelector: {matchLabels: {pool: ours}}\nguard: {maxTerminating: 1, lastSchedulable: refuse, criticalPods: [{namespaces: [default], selector: {matchLabels: {tier: critical}}}], exempt: {users: ["+exempt+"], groups: [cloud]}}\n")
	ours := labelled("pool", "ours")
	deleted, victim, precious := f.node("gone", ours), f.node("victim", ours), f.node("precious", annotated(api.AnnotationProtect, "true"))
	f.patch(precious, `{"spec":{"taints":[{"key":"gpu","effect":"NoSchedule"}]}}`)
	pod := cluster.MakePod("default", "db", "victim")
	pod.Labels["tier"] = "critical"
	if _, err := f.admin.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.dropPod("default", "db"); err != nil {
			t.Error(err)
		}
	})
	f.patch(f.node("other", ours), `{"spec":{"unschedulable":true}}`)
	f.allowed(f.delete(f.admin, deleted), deleted) // So that each rule has something to deny.
	mallory := f.as("mallory", "editors")
	meta := func(old object) object { return old["metadata"].(object) }
	for name, forge := range map[string]func(request, user, old object){
		"nothing":          nil,
		"an exempt user":   func(_, user, _ object) { user["username"] = exempt },
		"an exempt group":  func(_, user, _ object) { user["groups"] = []string{"cloud"} },
		"an administrator": func(_, user, _ object) { user["username"], user["groups"] = "admin", []string{"system:masters"} },
		"labels":           func(_, _, old object) { meta(old)["labels"] = object{"pool": "theirs"} },
		"no labels":        func(_, _, old object) { delete(meta(old), "labels") },
		"break-glass": func(_, _, old object) {
			meta(old)["annotations"] = object{api.AnnotationBreakGlass: "forged", api.AnnotationBreakGlassUntil: "2126-01-01T00:00:00Z"}
		},
		"no protection": func(_, _, old object) { meta(old)["annotations"] = object{api.AnnotationProtect: "false"} },
		"who deletes it": func(_, _, old object) {
			meta(old)["annotations"] = object{api.AnnotationDeletionRequestedBy: "mallory", api.AnnotationDeletionRequestedAt: time.Now().UTC().Format(time.RFC3339Nano)}
		},
		"no finalizers": func(_, _, old object) { delete(meta(old), "finalizers") },
		"it terminates": func(_, _, old object) { meta(old)["deletionTimestamp"] = "2026-01-31T04:00:00Z" },
		"taints": func(_, _, old object) {
			old["spec"] = object{"taints": []object{{"key": "gpu", "effect": "NoExecute"}}}
		},
		"another name": func(request, _, old object) { request["name"], meta(old)["name"] = "other", "other" },
		"another UID":  func(_, _, old object) { meta(old)["uid"] = "made-up" },
		"a dry run":    func(request, _, _ object) { request["dryRun"] = true },
		"delete options": func(request, _, _ object) {
			request["options"] = object{"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": []string{"All"}, "gracePeriodSeconds": 0}
		},
		"exempt in two places": func(_, user, old object) { user["groups"] = []string{"cloud"}; meta(old)["labels"] = nil },
	} {
		t.Run(name, func(t *testing.T) {
			of := *f
			of.T = t
			for node, says := range map[*corev1.Node][]string{
				victim:   {"critical pods run on it: default/db", "no other node", "1 other node"},
				precious: {api.AnnotationProtect},
			} {
				before := of.read(node)
				of.ask(forgery(before, forge))
				if after := of.read(node); after.ResourceVersion != before.ResourceVersion {
					t.Errorf("a forged review changed node %s to %+v", node.Name, after.ObjectMeta)
				}
				of.refused(of.delete(mallory, node), node, says...)
			}
		})
	}
}

// A taint of an autoscaler makes a Node unschedulable, so its deletion removes no capacity. In the
// test above, other rules would also deny the deletion.
func TestForgedTaintDoesNotMakeTheLastNodeDispensable(t *testing.T) {
	f := setUp(t, "guard: {lastSchedulable: refuse}\n")
	victim, other := f.node("victim"), f.node("other")
	f.patch(other, `{"spec":{"unschedulable":true}}`)
	mallory := f.as("mallory", "editors")
	f.refused(f.delete(mallory, victim), victim, "no other node")
	f.ask(forgery(f.read(victim), func(_, _, old object) {
		old["spec"] = object{"taints": []object{{"key": "gpu", "effect": "NoExecute"}}}
	}))
	f.refused(f.delete(mallory, victim), victim, "no other node")
}

// A forged review about an invented Node has the agent read one object, and write nothing.
func TestForgedReviewOfAnInventedNodeHasNoEffect(t *testing.T) {
	f := setUp(t, "guard: {maxTerminating: 3, lastSchedulable: refuse, criticalPods: [{namespaces: [default]}]}\n")
	real := f.node("real")
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	for name, uid := range map[string]string{"ghost": "made-up", real.Name: "made-up-too"} {
		for _, annotations := range []object{{}, {api.AnnotationProtect: "true"}, {api.AnnotationBreakGlass: "forged", api.AnnotationBreakGlassUntil: "2126-01-01T00:00:00Z"}} {
			answer := f.ask(forgery(real, func(_, _, old object) {
				old["metadata"] = object{"name": name, "uid": uid, "annotations": annotations}
			}))
			if !answer.Allowed || answer.UID != "q" {
				t.Errorf("about %s the answer is %+v", name, answer)
			}
		}
	}
	if writes, lists := f.writes(mark), f.lists(mark); len(writes) > 0 || len(lists) > 0 {
		t.Errorf("the agent wrote %q and listed %q", writes, lists)
	}
	if current := f.read(real); current.ResourceVersion != real.ResourceVersion {
		t.Errorf("the real node is %+v", current.ObjectMeta)
	}
	// So that this could fail: the same review of the real one.
	f.node("other")
	f.ask(forgery(real, nil))
	if writes := f.writes(mark); len(writes) == 0 || slices.ContainsFunc(writes, func(write string) bool { return !strings.HasSuffix(write, " configmaps "+api.GuardName) }) {
		t.Errorf("about a real node the agent wrote %q", writes)
	}
}

// lists returns the agent's lists of Nodes and Pods since the mark.
func (f *fixture) lists(mark cluster.AuditMark) (lists []string) {
	f.Helper()
	events, err := shared.AuditSince(mark)
	if err != nil {
		f.Fatal(err)
	}
	for _, event := range events {
		if event.User == f.agentName() && event.Verb == "list" && (strings.HasPrefix(event.URI, "/api/v1/nodes") || strings.HasPrefix(event.URI, "/api/v1/pods")) {
			lists = append(lists, event.URI)
		}
	}
	return lists
}

// A flood of forged reviews of one Node, each by another user, costs few writes.
func TestForgedReviewsAreRecordedInBatches(t *testing.T) {
	f := setUp(t, "guard: {maxTerminating: 3}\n")
	node := f.node("real")
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	const reviews = 400
	began := time.Now()
	all(make([]*corev1.Node, bulkSize), func(i int, _ *corev1.Node) {
		for j := range reviews / bulkSize {
			f.ask(forgery(node, func(_, user, _ object) { user["username"] = fmt.Sprintf("mallory-%d-%d", i, j) }))
		}
	})
	// 40 at once and 20 a second, see agent/guard/limits.go.
	most := 40 + 1 + int(20*time.Since(began).Seconds())
	if writes := len(f.writes(mark)); writes == 0 || writes > most || writes > reviews/2 {
		t.Errorf("%d reviews in %s had the agent write %d times, want %d at most", reviews, time.Since(began), writes, most)
	}
	if lists := len(f.lists(mark)); lists > most {
		t.Errorf("%d reviews had the agent list nodes %d times, want %d at most", reviews, lists, most)
	}
}

// ask sends a review to the webhook as the API server does, without a client certificate. It
// does not end the test, for goroutines.
func (f *fixture) ask(request object) *admissionv1.AdmissionResponse {
	f.Helper()
	body, err := json.Marshal(object{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
	if err != nil {
		f.Fatal(err)
	}
	call, err := http.NewRequestWithContext(f.Context(), http.MethodPost, "https://"+f.webhook+api.GuardPath+"?timeout=10s", bytes.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	call.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	answer := &admissionv1.AdmissionReview{Response: &admissionv1.AdmissionResponse{}}
	response, err := client.Do(call)
	if err != nil {
		f.Error(err)
		return answer.Response
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(body, answer)
	}
	if err != nil || answer.Response.UID == "" {
		f.Errorf("answered %d %s: %v", response.StatusCode, body, err)
	}
	return answer.Response
}
