package api

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestEffectsAsText(t *testing.T) {
	pod, node := Object{Kind: KindPod, Namespace: "shop", Name: "cart-0"}, Object{Kind: KindNode, Name: "worker"}
	for want, effect := range map[string]Effect{
		"cordon":                                              {Action: ActionCordon, Object: node},
		"evict shop/cart-0":                                   {Action: ActionEvict, Object: pod},
		"skip shop/cart-0 (DaemonSet)":                        {Action: ActionSkip, Object: pod, Reason: "DaemonSet"},
		"evict shop/cart-0 (blocked: budget)":                 {Action: ActionEvict, Object: pod, Reason: "emptyDir", Blocked: &Blocker{Cause: BlockedByBudget, Message: "budget"}},
		"evict shop/cart-0 (not checked: no right)":           {Action: ActionEvict, Object: pod, Unchecked: "no right"},
		"wait PersistentVolume pv-1 (until it is detached)":   {Action: ActionWait, Object: Object{Kind: "PersistentVolume", Name: "pv-1"}, Reason: "until it is detached"},
		"call https://example.com (POST about node worker)":   {Action: ActionCall, Object: Object{Kind: KindURL, Name: "https://example.com"}, Reason: "POST about node worker"},
		"log: bye worker":                                     {Action: ActionLog, Object: node, Reason: "bye worker"},
		"skip: no volume is attached":                         {Action: ActionSkip, Reason: "no volume is attached"},
		"cannot tell what it would do: plugin slack panicked": {Action: ActionUnknown, Object: node, Reason: "cannot tell what it would do: plugin slack panicked"},
	} {
		if got := effect.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// An agent before effects had lines in the record.
func TestRecordsWithLinesAreStillRead(t *testing.T) {
	for name, test := range map[string]struct {
		step string
		want []string
	}{
		"lines":   {`{"name":"drain","plugin":"drain","state":"Succeeded","preview":["cordon","evict shop/cart-0"]}`, []string{"cordon", "evict shop/cart-0"}},
		"effects": {`{"name":"drain","plugin":"drain","state":"Succeeded","effects":[{"action":"Cordon","object":{"kind":"Node","name":"n"}},{"action":"Evict","object":{"kind":"Pod","namespace":"shop","name":"cart-0"}}]}`, []string{"cordon", "evict shop/cart-0"}},
		"neither": {`{"name":"drain","plugin":"drain","state":"Succeeded"}`, nil},
	} {
		run, err := DecodeRun(&corev1.ConfigMap{Data: map[string]string{RunKey: `{"version":"` + RunVersion + `","node":"n","nodeUID":"u","configHash":"c","planHash":"p","state":"Succeeded","startedAt":"2026-01-31T04:00:00Z","steps":[` + test.step + `]}`}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := run.Steps[0].Would(); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
