package webhookauth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

// file is one that is written; its name is relative to the output folder.
type file struct {
	name    string
	content []byte
	mode    fs.FileMode
}

// write writes all files, or none if one exists: an accidentally replaced CA locks out the API
// servers with certificates of the old one.
func write(folder string, files []file, replace bool) error {
	if !replace {
		for _, one := range files {
			name := filepath.Join(folder, one.name)
			if _, err := os.Lstat(name); err == nil {
				return fmt.Errorf("%s already exists: use --renew for a new client certificate by the same CA, or another --output-dir", name)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("looking whether %s is there: %w", name, err)
			}
		}
	}
	for _, one := range files {
		name := filepath.Join(folder, one.name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return fmt.Errorf("making the folder of %s: %w", name, err)
		}
		if err := replaceFile(name, one.content, one.mode); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// replaceFile is atomic, and a key never is readable by others, not for a moment.
func replaceFile(name string, content []byte, mode fs.FileMode) error {
	partial, err := os.CreateTemp(filepath.Dir(name), ".partial-")
	if err != nil {
		return err
	}
	_, err = partial.Write(content)
	if err = errors.Join(err, partial.Chmod(mode), partial.Sync(), partial.Close()); err == nil {
		err = os.Rename(partial.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(partial.Name()))
	}
	return nil
}

// kubeconfig says by which certificate the API server calls a host. Its users are
// named by the host that is called: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#authenticate-apiservers
func kubeconfig(folder string, hosts []string) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	for _, host := range hosts {
		config.AuthInfos[host] = &clientcmdapi.AuthInfo{
			ClientCertificate: path.Join(folder, "client.crt"), ClientKey: path.Join(folder, "client.key"),
		}
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return data, nil
}

// admissionConfiguration names the kubeconfig for both kinds of webhooks.
func admissionConfiguration(folder string) ([]byte, error) {
	var plugins []any
	for _, name := range []string{"MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"} {
		plugins = append(plugins, map[string]any{"name": name, "configuration": map[string]any{
			"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration",
			"kubeConfigFile": path.Join(folder, "kubeconfig.yaml"),
		}})
	}
	return yaml.Marshal(map[string]any{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins})
}

// agentFiles are a kustomization for install -k, which gives the agent the CA and
// has it demand certificates.
func agentFiles(namespace string, bundle []byte, subject string) ([]file, error) {
	const mounted = "/etc/nodecleanup/webhook-clients"
	add := func(field string, value any) any {
		return map[string]any{"op": "add", "path": "/spec/template/spec/" + field, "value": value}
	}
	patch, err := yaml.Marshal([]any{
		add("containers/0/args/-", "--webhook-client-ca="+mounted+"/"+api.WebhookClientsKey),
		add("containers/0/args/-", "--webhook-client-subjects="+subject),
		add("containers/0/volumeMounts", []any{map[string]any{"name": "webhook-clients", "mountPath": mounted, "readOnly": true}}),
		add("volumes", []any{map[string]any{"name": "webhook-clients", "configMap": map[string]any{"name": api.WebhookClientsName}}}),
	})
	if err != nil {
		return nil, fmt.Errorf("writing the patch of the agent: %w", err)
	}
	configMap, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": api.WebhookClientsName, "namespace": namespace, "labels": map[string]any{
			api.LabelName: api.LabelNameValue, "app.kubernetes.io/part-of": api.LabelNameValue, "app.kubernetes.io/component": "config",
		}},
		"data": map[string]any{api.WebhookClientsKey: string(bundle)},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the CA for the agent: %w", err)
	}
	kustomization, err := yaml.Marshal(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
		"resources": []any{install.BaseName, "clients.yaml"},
		"patches":   []any{map[string]any{"target": map[string]any{"kind": "Deployment", "name": api.Agent}, "path": "demand.yaml"}},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the kustomization: %w", err)
	}
	return []file{
		{filepath.Join("agent", "kustomization.yaml"), kustomization, 0o644},
		{filepath.Join("agent", "clients.yaml"), configMap, 0o644},
		{filepath.Join("agent", "demand.yaml"), patch, 0o644},
	}, nil
}
