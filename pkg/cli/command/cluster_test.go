package command

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestWithoutAKubeconfigTheFilesAreNamed(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	t.Setenv("KUBECONFIG", first+string(filepath.ListSeparator)+second)
	_, err := NewCluster().Clients()
	if err == nil || !strings.Contains(err.Error(), first+", "+second) || !strings.Contains(Next(err), "--kubeconfig FILE") {
		t.Errorf("%v; next: %s", err, Next(err))
	}
}
