//go:build linux

package node

import (
	"fmt"
	"os"
	"path/filepath"
)

// PauseImage holds the namespaces of each Pod.
const PauseImage = "localhost/pause:1"

// layout says where everything of one node is.
type layout struct {
	programs, dir string
}

func (l layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.dir}, parts...)...)
}
func (l layout) program(name string) string { return filepath.Join(l.programs, name) }
func (l layout) socket() string             { return l.path("containerd.sock") }

// containerdConfig makes the runtime preserve the OOM score: without CAP_SYS_RESOURCE, which a CI
// container lacks, each Pod would fail.
func (l layout) containerdConfig() string {
	return fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
address = %q

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = %q

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [%q]
conf_dir = %q

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
`, l.path("containerd"), l.path("run"), l.socket(), PauseImage, cniPlugins, l.path("cni"))
}

// cniConfig configures the addresses of Pods behind a bridge of this node.
func (l layout) cniConfig() string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0", "name": "nodecleanup",
  "plugins": [
    {"type": "bridge", "bridge": %q, "isGateway": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}}
  ]
}
`, bridge, l.path("ipam"), podNetwork)
}

func (l layout) kubeletConfig(clientCA string, port, healthPort int) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix://%s
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %s}
authorization: {mode: Webhook}
address: 0.0.0.0
port: %d
healthzPort: %d
podLogsDir: %s
volumePluginDir: %s
evictionHard: {memory.available: 50Mi, nodefs.available: 1%%, imagefs.available: 1%%, nodefs.inodesFree: 1%%}
nodeStatusUpdateFrequency: 2s
syncFrequency: 5s
`, l.socket(), clientCA, port, healthPort, l.path("podlogs"), l.path("volumeplugins"))
}

func write(files map[string]string) error {
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
