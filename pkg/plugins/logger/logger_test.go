package logger

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestLineIsWrittenAsConfigured(t *testing.T) {
	for options, want := range map[string]string{
		``: `level=INFO msg="node worker leaves the cluster"`,
		`{"message":"bye ${node.name}","level":"warn"}`: `level=WARN msg="bye worker"`,
	} {
		plugin, faults := Descriptor().Bind([]byte(options))
		if faults != nil {
			t.Fatal(faults)
		}
		var log bytes.Buffer
		target := cleanup.Target{
			Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker"}},
			Log:  slog.New(slog.NewTextHandler(&log, nil)),
		}
		if err := plugin.Cleanup(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("logged %s, want %s", log.String(), want)
		}
	}
}

func TestInvalidOptionsAreNamed(t *testing.T) {
	for options, want := range map[string]string{
		`{"message":""}`:           "message: must not be empty",
		`{"message":"${node.ip}"}`: "message: has the unknown reference ${node.ip}",
		`{"massage":"x"}`:          `unknown field "massage"`,
		`{"level":"loud"}`:         "unknown name",
	} {
		_, faults := Descriptor().Bind([]byte(options))
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), want) {
			t.Errorf("%s: %v, want %q", options, faults, want)
		}
	}
}
