package ec2node

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func node(providerID string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "uid-1"}, Spec: corev1.NodeSpec{ProviderID: providerID}}
}

func TestTheInstanceComesFromTheProviderID(t *testing.T) {
	for id, want := range map[string]struct {
		instance Instance
		reason   string
	}{
		"aws:///eu-west-1a/i-0123456789abcdef0":        {Instance{"i-0123456789abcdef0", "eu-west-1"}, ""},
		"aws:///us-gov-east-1b/i-0123456789abcdef0":    {Instance{"i-0123456789abcdef0", "us-gov-east-1"}, ""},
		"aws:///us-west-2-lax-1a/i-0a":                 {Instance{"i-0a", "us-west-2"}, ""},
		"aws:///us-east-1-wl1-bos-wlz-1/i-0a":          {Instance{"i-0a", "us-east-1"}, ""},
		"aws:///ap-southeast-12c/i-0a":                 {Instance{"i-0a", "ap-southeast-12"}, ""},
		"aws:///eu-west-1a/fargate-ip-10-0-0-1":        {reason: "is a Fargate node"},
		"aws:///eu-west-1a/0a-b/fargate-ip-10-0-0-1":   {reason: "is a Fargate node"},
		"eks-hybrid:///eu-west-1/cluster/mi-0123abcde": {reason: "is an EKS hybrid node"},
		"gce://project/europe-west1-b/name":            {reason: "is not that of an EC2 instance"},
		"aws:///eu-west-1a/i-0a/i-0b":                  {reason: "is not that of an EC2 instance"},
		"aws:///i-0a":                                  {reason: "is not that of an EC2 instance"},
		"aws:///zone/i-0a":                             {reason: "is not that of an EC2 instance"},
		"xaws:///eu-west-1a/i-0a":                      {reason: "is not that of an EC2 instance"},
		"":                                             {reason: "has no provider ID"},
	} {
		one := node(id)
		instance, is := Of(one)
		applies, reason := Applies(one)
		if is != (want.reason == "") || applies != is || is && instance != want.instance || !strings.Contains(reason, want.reason) || applies && reason != "" {
			t.Errorf("%q is %+v (%t), %t with the reason %q", id, instance, is, applies, reason)
		}
	}
}

func TestOnlyTheNodeWithTheUIDIsTheSame(t *testing.T) {
	const id = "aws:///eu-west-1a/i-0a"
	want := node(id)
	for name, test := range map[string]struct {
		change    func(*corev1.Node)
		fails     error
		permanent bool
		want      string
	}{
		"same":        {change: func(*corev1.Node) {}},
		"replaced":    {change: func(n *corev1.Node) { n.UID = "uid-2" }, permanent: true, want: "the node a with UID uid-1 no longer exists"},
		"absent":      {change: func(n *corev1.Node) { n.Name = "b" }, permanent: true, want: "no longer exists"},
		"reprovided":  {change: func(n *corev1.Node) { n.Spec.ProviderID = "aws:///eu-west-1a/i-0b" }, permanent: true, want: "provider ID"},
		"unreachable": {change: func(*corev1.Node) {}, fails: errors.New("connection refused"), want: "reading node a: connection refused"},
	} {
		current := want.DeepCopy()
		test.change(current)
		client := fake.NewClientset(current)
		if test.fails != nil {
			client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, test.fails })
		}
		err := Same(t.Context(), client.CoreV1().Nodes(), want)
		if (err == nil) != (test.want == "") || cleanup.IsPermanent(err) != test.permanent || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, permanent %t", name, err, cleanup.IsPermanent(err))
		}
	}
}

func TestTheSampleHasOnlyInstancesThatStay(t *testing.T) {
	instance, other, deleted := node("aws:///eu-west-1a/i-0a"), node("eks-hybrid:///eu-west-1/c/mi-0a"), node("aws:///eu-west-1a/i-0b")
	other.Name, deleted.Name = "b", "c"
	deleted.DeletionTimestamp, deleted.Finalizers = &metav1.Time{Time: time.Now()}, []string{"nodecleanup.io/finalizer"}
	some, err := Some(t.Context(), fake.NewClientset(instance, other, deleted).CoreV1().Nodes())
	if err != nil || len(some) != 1 || some[0].Name != "a" {
		t.Errorf("%+v, %v", some, err)
	}
}
