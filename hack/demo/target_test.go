package main

import (
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

func TestDemoRecognisesItsOwnClusterFiles(t *testing.T) {
	for list, want := range map[string]bool{
		"/cache/clusters/demo/kubeconfig":                                    true,
		"/cache/clusters/demo/kubeconfigs/a:/cache/clusters/demo/kubeconfig": true,
		"/cache/clusters/demo2/kubeconfig":                                   false,
		"/cache/clusters/demo/../local/kubeconfig":                           false,
		"/cache/clusters/demo/kubeconfig:/home/jane/.kube/config":            false,
		"kubeconfig": false,
	} {
		list = strings.ReplaceAll(list, ":", string(filepath.ListSeparator))
		if got := allWithin("/cache/clusters/demo", list); got != want {
			t.Errorf("%s: got %v, want %v", list, got, want)
		}
	}
}

func TestConfigIsValidAndSelectsTheDemoNodes(t *testing.T) {
	parsed, err := config.Parse([]byte(configFor("http://127.0.0.1:1")), plugins.Catalog(plugins.Dependencies{}))
	if err != nil {
		t.Fatal(err)
	}
	if !parsed.NodeSelector.Matches(labels.Set(makeNode("a").Labels)) || parsed.NodeSelector.Matches(labels.Set{"kubernetes.io/hostname": "theirs"}) {
		t.Errorf("the config is for the nodes %s", parsed.NodeSelector)
	}
}
