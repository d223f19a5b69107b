package etcd

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func node(name string, addresses ...string) *corev1.Node {
	made := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{labelControlPlane: ""}}}
	for _, address := range addresses {
		made.Status.Addresses = append(made.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
	}
	return made
}

func made(id, name string, peers ...string) member {
	return member{ID: id, Name: name, PeerURLs: peers, ClientURLs: []string{"https://" + name + ":2379"}}
}

func TestTheMemberOfANode(t *testing.T) {
	others := []member{made("2", "cp-2", "https://10.0.0.2:2380"), made("3", "cp-3", "https://[fd00::3]:2380")}
	for name, test := range map[string]struct {
		node    *corev1.Node
		members []member
		nodes   []corev1.Node
		// own is the ID of the member, absent and problem are parts of the texts.
		own, absent, problem string
	}{
		"by name and address":             {node: node("cp-1", "10.0.0.1"), members: []member{made("1", "cp-1", "https://10.0.0.1:2380")}, own: "1"},
		"one of several addresses":        {node: node("cp-1", "192.168.0.1", "10.0.0.1"), members: []member{made("1", "cp-1", "https://10.9.9.9:2380", "https://10.0.0.1:2380")}, own: "1"},
		"IPv6, written in another way":    {node: node("cp-1", "fd00:0:0::1"), members: []member{made("1", "cp-1", "https://[fd00::1]:2380")}, own: "1"},
		"by host name":                    {node: node("cp-1", "cp-1.example.com"), members: []member{made("1", "cp-1", "https://CP-1.example.com:2380")}, own: "1"},
		"never started":                   {node: node("cp-1", "10.0.0.1"), members: []member{made("1", "", "https://10.0.0.1:2380")}, own: "1"},
		"absent":                          {node: node("cp-1", "10.0.0.1"), absent: "no etcd member has the name cp-1 or an address of the node"},
		"no part of another address":      {node: node("cp-1", "10.0.0.1"), members: []member{made("1", "cp-11", "https://10.0.0.11:2380")}, absent: "no etcd member"},
		"a Node without addresses":        {node: node("cp-1"), members: []member{made("1", "cp-1", "https://10.0.0.1:2380")}, problem: "member cp-1 has the peer URLs https://10.0.0.1:2380, which have no address of the node"},
		"the name at another address":     {node: node("cp-1", "10.0.0.1"), members: []member{made("1", "cp-1", "https://10.0.0.9:2380")}, problem: "which have no address of the node"},
		"another name at the address":     {node: node("cp-1", "10.0.0.1"), members: []member{made("1", "cp-4", "https://10.0.0.1:2380")}, problem: "member cp-4 has an address of the node, but not the name cp-1"},
		"a new Node took over":            {node: node("cp-1", "10.0.0.1"), members: []member{made("1", "cp-4", "https://10.0.0.1:2380")}, nodes: []corev1.Node{*node("cp-4", "10.0.0.1")}, absent: "the address of the node now belongs to node cp-4"},
		"a Node of that name is not here": {node: node("cp-1", "10.0.0.1"), members: []member{made("1", "cp-4", "https://10.0.0.1:2380")}, nodes: []corev1.Node{*node("cp-4", "10.0.0.4")}, problem: "but not the name cp-1"},
		"two at the address":              {node: node("cp-1", "10.0.0.1"), members: []member{made("1", "cp-1", "https://10.0.0.1:2380"), made("4", "", "https://10.0.0.1:3380")}, problem: "several have an address of the node: member cp-1, member 4"},
	} {
		own, absent, err := find(slices.Concat(test.members, others), test.node, test.node.Name, test.nodes)
		if (own != nil) != (test.own != "") || own != nil && own.ID != test.own {
			t.Errorf("%s: the member is %v", name, own)
		}
		if (absent == "") != (test.absent == "") || !strings.Contains(absent, test.absent) {
			t.Errorf("%s: absent is %q", name, absent)
		}
		if (err == nil) != (test.problem == "") || err != nil && (!strings.Contains(err.Error(), test.problem) || !cleanup.IsPermanent(err)) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

func TestQuorum(t *testing.T) {
	for name, test := range map[string]struct {
		// members are healthy (h), down (d), or a learner (l). The first one is removed.
		members   string
		want      string
		permanent bool
	}{
		"three":                     {members: "hhh"},
		"three, itself down":        {members: "dhh"},
		"three, another down":       {members: "hhd", want: "1 of the 2 remaining voting members are healthy, and 2 are needed; not healthy: member 2 (down)"},
		"three, two down":           {members: "dhd", want: "1 of the 2 remaining"},
		"five, another down":        {members: "hhhhd"},
		"five, two others down":     {members: "hhhdd", want: "2 of the 4 remaining voting members are healthy, and 3 are needed"},
		"two":                       {members: "hh"},
		"two, the other down":       {members: "hd", want: "0 of the 1 remaining"},
		"the last one":              {members: "h", want: "it is the last voting member", permanent: true},
		"the last one that votes":   {members: "hl", want: "it is the last voting member", permanent: true},
		"learners do not vote":      {members: "hhdll", want: "1 of the 2 remaining"},
		"a learner":                 {members: "lhd"},
		"three and a learner, down": {members: "hhhl"},
	} {
		v := &view{health: map[string]health{}}
		for i, kind := range test.members {
			one := member{ID: fmt.Sprint(i), IsLearner: kind == 'l'}
			if v.members = append(v.members, one); kind == 'd' {
				v.health[one.ID] = health{err: errors.New("down")}
			}
		}
		v.own = &v.members[0]
		err := v.unsafe()
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || cleanup.IsPermanent(err) != test.permanent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheSuccessorIsAHealthyVotingMember(t *testing.T) {
	v := &view{members: []member{{ID: "1"}, {ID: "2"}, {ID: "3"}, {ID: "4", IsLearner: true}, {ID: "5"}}, health: map[string]health{
		"1": {status: status{RaftAppliedIndex: "99"}}, "2": {status: status{RaftAppliedIndex: "7"}}, "3": {status: status{RaftAppliedIndex: "10"}},
		"4": {status: status{RaftAppliedIndex: "50"}}, "5": {status: status{RaftAppliedIndex: "60"}, err: errors.New("down")},
	}}
	v.own = &v.members[0]
	if successor := v.successor(); successor == nil || successor.ID != "3" {
		t.Errorf("the successor is %v", successor)
	}
}

func TestWhichMemberIsHealthy(t *testing.T) {
	for text, want := range map[string]string{
		`{"leader":"12","errors":[]}`:                                     "",
		`{"leader":"0"}`:                                                  "it has no leader",
		`{"errors":["etcdserver: no leader"]}`:                            "it has no leader",
		`{"leader":"12","errors":["memberID:5 alarm:NOSPACE "]}`:          "",
		`{"leader":"12","errors":["memberID:5  alarm:CORRUPT "]}`:         "it has the alarm CORRUPT",
		`{"leader":"12","errors":["memberID:6 alarm:CORRUPT "]}`:          "",
		`{"leader":"12","raftAppliedIndex":"77","errors":["memberID:5"]}`: "",
	} {
		var answer status
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatal(err)
		}
		if err := answer.fault("5"); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEndpoints(t *testing.T) {
	nodes := []corev1.Node{*node("cp-1", "10.0.0.1"), *node("cp-2", "10.0.0.2", "fd00::2"), *node("cp-3", "cp-3.example.com")}
	nodes[1].Status.Addresses = append(nodes[1].Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "192.0.2.2"})
	want := []string{"https://10.0.0.2:2379", "https://[fd00::2]:2379", "https://10.0.0.1:2379"}
	if got := (&plugin{}).endpoints(nodes, &nodes[0]); !slices.Equal(got, want) {
		t.Errorf("the endpoints are %q, want %q", got, want)
	}
	if got := (&plugin{options: options{Endpoints: []string{"https://etcd"}}}).endpoints(nodes, nil); !slices.Equal(got, []string{"https://etcd"}) {
		t.Errorf("the endpoints are %q", got)
	}
}

func TestApplies(t *testing.T) {
	for want, change := range map[string]func(*corev1.Node){
		"":                               func(*corev1.Node) {},
		"the node has no label":          func(n *corev1.Node) { n.Labels = nil },
		"k3s or RKE2 removes":            func(n *corev1.Node) { n.Finalizers = []string{"other", managedEtcd} },
		"k3s or RKE2 removes the":        func(n *corev1.Node) { n.Annotations = map[string]string{"etcd.k3s.cattle.io/node-name": "a"} },
		"k3s or RKE2 removes the etcd":   func(n *corev1.Node) { n.Annotations = map[string]string{"etcd.rke2.cattle.io/node-address": "a"} },
		"the Cluster API removes the":    func(n *corev1.Node) { n.Annotations = map[string]string{ownerKind: "KubeadmControlPlane"} },
		"the node has no label node-rol": func(n *corev1.Node) { n.Labels = map[string]string{"node-role.kubernetes.io/worker": ""} },
	} {
		one := node("cp-1")
		change(one)
		if applies, reason := (&plugin{}).Applies(one); applies != (want == "") || !strings.HasPrefix(reason, want) {
			t.Errorf("applies is %t because %q, want %q", applies, reason, want)
		}
	}
}

func TestOptions(t *testing.T) {
	const secret = `{"secretKeyRef":{"name":"etcd","key":"x"}}`
	for options, want := range map[string]string{
		``: "caBundle: is required",
		`"caBundle":` + secret + `,"certificate":` + secret:                                             "key: is required",
		`"caBundle":` + secret + `,"certificate":` + secret + `,"key":"x"`:                              "key: must be in a Secret",
		`"caBundle":"x","certificate":` + secret + `,"key":` + secret:                                   "caBundle: contains something other than PEM certificates",
		`"endpoints":["http://10.0.0.1:2379"]`:                                                          "endpoints[0]: must start with https://",
		`"endpoints":["https://10.0.0.1:2379","10.0.0.2"]`:                                              "endpoints[1]: is not a URL",
		`"memberName":"${node.nam}"`:                                                                    "memberName: has the unknown reference",
		`"memberName":""`:                                                                               "memberName: must not be empty",
		`"caBundle":` + secret + `,"certificate":{"secretKeyRef":{"name":"etcd"}},"key":` + secret + ``: "certificate: secretKeyRef needs name and key",
	} {
		_, faults := Descriptor(nil, nil, nil).Bind([]byte("{" + options + "}"))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}
